"""Members for models that are made of finished runs, and what they say of a text."""

import random

import numpy as np
import torch

from pipeline.cells.lstm import LSTM
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Symbols
from pipeline.learning.held_out import HeldOutBatches
from pipeline.models.delay_taps import DelayTaps
from pipeline.models.model import SequenceModel
from pipeline.models.ngram import NGram
from pipeline.models.recurrent import RecurrentNetwork

V = 5


SPACES = Symbols(V), Symbols(V), ()


def ngram() -> SequenceModel:
    """Three symbols at a time, that has counted a text."""
    network = NGram(*SPACES, order=3).double()
    network.update({"text": symbols(300, seed=7) + 1})
    return network


def delay_taps() -> SequenceModel:
    return _drawn(DelayTaps(*SPACES, taps=2))


def lstm() -> SequenceModel:
    network = RecurrentNetwork(*SPACES, LSTM, 1, 3, None, 0.0, False, 0.0, False)
    return _drawn(network)


def _drawn(network: SequenceModel) -> SequenceModel:
    """float64, parameters ~ N(0, 1), the same each time."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.double().parameters():
            parameter.normal_(generator=generator)
    return network.eval()


def symbols(count: int, seed: int = 0, unknown: bool = False) -> torch.Tensor:
    """Of a text that says much twice."""
    draw, text = random.Random(seed), []
    while len(text) < count:
        text += (
            [draw.randrange(V + unknown)] if len(text) < 9 or draw.random() < 0.4 else text[-draw.randrange(3, 9) :][:3]
        )
    return torch.tensor(text[:count])


def probabilities(network: SequenceModel, x: torch.Tensor) -> np.ndarray:
    """What it says after each element, all read at once: [T, B, V]."""
    with torch.no_grad():
        z = network(x, network.start(x.shape[1]))[0].numpy()
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def in_windows(x: torch.Tensor, lengths: list[int], blank: list[int] = ()) -> HeldOutBatches:
    """Elements [T + 1, B] in windows; what is foretold at the steps `blank` is not asked."""
    targets = x[1:].clone()
    targets[list(blank)] = V
    parts = zip(x[:-1].split(lengths), targets.split(lengths))
    batches = [Batch(a, b, int((b < V).sum()), carried=k > 0) for k, (a, b) in enumerate(parts)]
    return HeldOutBatches(batches, np.log(V))


def learn(network: SequenceModel, batches: HeldOutBatches, passes: int) -> float:
    """As pipeline.learning.statistics; the mean loss of the last pass."""
    for _ in range(passes):
        sums, total, count, state = network.zero_statistics(batches.elements), 0.0, 0, None
        for batch in map(batches.at, range(len(batches))):
            state = state if batch.carried else network.start(batch.inputs.shape[1])
            state, loss = network.accumulate(sums, batch, state)
            total, count = total + loss.item(), count + batch.count
        network.update(sums)
    return total / count
