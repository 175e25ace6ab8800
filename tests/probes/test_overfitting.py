"""Training and test loss against reading symbol by symbol."""

import numpy as np
import pytest

from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.space import Symbols
from pipeline.datasets.text import Text
from pipeline.probes.overfitting import Overfitting, figure
from tests.probes.test_held_out import V, lstm, one_by_one


def test_the_gap_is_test_less_training_loss_after_the_first_batch():
    """100 targets in 4 streams of 25, 5 steps a batch: 30 elements end with the third batch."""
    rng = np.random.default_rng(0)
    parts = {"train": rng.integers(0, 2, 101).astype(np.uint8), "test": rng.integers(0, V, 60).astype(np.uint8)}
    card = {"corpus": "made", "split": "80-10-10", "counts": {name: len(part) for name, part in parts.items()}}
    data = Text(Prepared(parts, Vocabulary("characters", list(range(97, 97 + V))), card))
    network = lstm(Symbols(V), Symbols(V))
    found = Overfitting(30, 4, 5).measure(network, data, 0)
    assert network.training

    total = 0.0
    for first in range(0, 100, 25):
        stream = parts["train"][first : first + 16]
        with_burn_in, before = one_by_one(network, stream)[0] * 15, one_by_one(network, stream[:6])[0] * 5
        total += with_burn_in - before
    assert found["training_nats"] == pytest.approx(total / 40)
    assert found["test_nats"] == pytest.approx(one_by_one(network, parts["test"])[0])
    assert found["gap"] == found["test_nats"] - found["training_nats"]


def test_each_model_has_a_line_of_test_and_one_of_training_losses_by_parameters():
    def row(model, parameters, *found):
        return {
            "model": model,
            "parameters": parameters,
            "units": {"element": "char"},
            "runs": [{"found": {"test_nats": test, "training_nats": training}} for test, training in found],
        }

    whole = figure([row("rnn", 90, (2.0, 1.0), (4.0, 2.0)), row("rnn", 30, (5.0, 4.5)), row("gru", 50, (1.0, 0.5))])
    lines = [(line.get_linestyle(), list(line.get_xdata()), list(line.get_ydata())) for line in whole.axes[0].lines]
    assert lines == [
        ("-", [30, 90], [5.0, 3.0]),
        ("--", [30, 90], [4.5, 1.5]),
        ("-", [50], [1.0]),
        ("--", [50], [0.5]),
    ]
