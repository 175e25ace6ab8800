"""Whatever reads a model evaluates it, and leaves it in the mode in which it was, also where that fails."""

import numpy as np
import pytest
import torch

from pipeline.datasets.copying import Copying
from pipeline.datasets.episodes import answered, as_sequence
from pipeline.datasets.series import Series
from pipeline.decoding.sampling import draw_symbols
from pipeline.models.model import SequenceModel
from pipeline.probes.held_out import held_out
from pipeline.probes.memory import carried_bits

TEXT = Copying(message=3, delay=2, alphabet=2, episodes=100, seed=0, split="80-10-10").open()
SERIES = Series("numbers", np.arange(100.0)[:, None], np.empty((100, 0)), "80-10-10", False)


class Failing(SequenceModel):
    """A model whose first step fails; it knows in which mode it was then."""

    device, dtype = torch.device("cpu"), torch.float64
    evaluated = None

    def start(self, batch):
        return (torch.zeros(1, batch, 1),)

    def forward(self, x, state):
        self.evaluated = not self.training
        raise ArithmeticError


READERS = {
    "held_out": lambda network: held_out(network, TEXT, "test"),
    "draw_symbols": lambda network: next(draw_symbols(network, [0, 1], 1.0, 5, torch.Generator())),
    "forecast": lambda network: SERIES.forecast(network, 5),
    "carried_bits": lambda network: carried_bits(network, TEXT),
    "answered": lambda network: next(answered(TEXT, network, [as_sequence(TEXT, [0, 1], [1, 2])], 5)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reader", READERS)
def test_a_model_is_evaluated_and_then_as_before_whatever_happens(reader, training):
    network = Failing(TEXT.reads, TEXT.answers).train(training)
    with pytest.raises(ArithmeticError):
        READERS[reader](network)
    assert network.evaluated and network.training == training
