import math

import numpy as np
import pytest
import torch

from pipeline.datasets.space import Bits, Reals, Symbols
from pipeline.probes.held_out import held_out
from pipeline.probes.prediction import Prediction
from tests.probes.test_held_out import Linear, V, lstm, ragged, text_of


def test_the_loss_is_measured_in_every_unit_in_which_it_is_compared():
    symbols = np.random.default_rng(0).integers(0, V + 1, 400).astype(np.uint8)
    data, network = text_of(symbols), lstm(Symbols(V), Symbols(V))
    data.card["unknown"] = {"test": 77}
    found = Prediction().measure(network, data, seed=0)
    loss, right, asked = held_out(network, data, "test")
    assert found == {
        "nats": loss,
        "bits": loss / math.log(2),
        "loss": loss,
        "right": right,
        "part": "test",
        "asked": asked,
        "unknown": 77,
        "moved": (loss, loss),  # one stream, from the part's beginning on
        "doubts": {},
    }


@pytest.mark.parametrize("forgets", [0.9, 0.9999])
def test_a_loss_is_doubted_that_depends_on_where_the_state_starts(forgets):
    """A memory that takes steps in the order of 1 / (1 - forgets) to fill."""
    data, network = (
        text_of(np.random.default_rng(0).integers(0, V, 20_000).astype(np.uint8)),
        lstm(Symbols(V), Symbols(V)),
    )

    def forward(x, state):
        filled, found = state[0][0, :, :1], []
        for _ in range(len(x)):
            filled = forgets * filled + (1 - forgets)
            found.append(torch.cat([filled * 3, torch.zeros(len(filled), V - 1)], dim=-1))
        return torch.stack(found).double(), (filled.expand(-1, state[0].shape[-1])[None], *state[1:])

    network.forward = forward
    found = Prediction().measure(network, data, 0)
    less, more = found["moved"]
    assert less == pytest.approx(held_out(network, data, "test", 50_000, 500).loss, rel=1e-12)
    assert more == pytest.approx(held_out(network, data, "test", 50_000, 1000).loss, rel=1e-12)
    if forgets < 0.99:
        assert found["doubts"] == {} and less == pytest.approx(more, rel=1e-3)
    else:
        assert set(found["doubts"]) == {"nats", "bits", "right"} and abs(less - more) > 0.005 * less
        assert f"{less:.4g} nats/char, {more:.4g} when twice as much" in found["doubts"]["nats"]


@pytest.mark.parametrize(
    "answers, names",
    [
        (Symbols(3), ["nats", "bits", "right"]),
        (Bits(2), ["nats", "bits", "right"]),
        (Reals(2, tolerance=0.5), ["rmse", "right"]),
        (Reals(2), ["rmse"]),
    ],
    ids=str,
)
def test_every_kind_of_answer_has_its_measures_and_the_first_is_of_the_loss(answers, names):
    data = ragged(Symbols(4), answers)
    found = Prediction().measure(Linear(Symbols(4), answers), data, seed=0)
    had = [name for name in Prediction.measures if found.get(name) is not None]
    assert had == names and had[0] in answers.measured(1.0)
    assert set(answers.measured(1.0)) <= set(Prediction.measures)
    assert found["part"] == "validation" and found["unknown"] == 0 and found["asked"] > 0


def test_rmse_is_the_root_of_the_mean_squared_error():
    data = ragged(Symbols(4), Reals(2))
    network = Linear(Symbols(4), Reals(2))
    errors = []
    for inputs, targets in data.made:
        with torch.no_grad():
            z, _ = network(torch.as_tensor(inputs)[:, None], network.start(1))
        errors += ((z[-1, 0] - targets[-1]) ** 2).tolist()
    assert Prediction().measure(network, data, 0)["rmse"] == pytest.approx(np.sqrt(np.mean(errors)), rel=1e-12)
