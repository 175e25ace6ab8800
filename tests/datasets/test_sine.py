"""The commanded sine wave."""

import math

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.datasets.sine import Sine
from pipeline.datasets.space import Reals
from tests.conftest import composed


def sine(**changes):
    return Sine(
        **{
            "length": 3000,
            "slowest": 50,
            "fastest": 10,
            "shortest": 50,
            "longest": 200,
            "seed": 0,
            "split": "80-10-10",
            "standardize": False,
        }
        | changes
    )


def test_the_choice_composes_and_makes_the_same_series_again():
    first, second = (load_data(composed("data=sine").data) for _ in range(2))
    assert (first.name, len(first.values), first.reads, first.answers) == ("sine", 20000, Reals(2, 1), Reals(1))
    assert (first.values == second.values).all() and first.card == second.card and np.isfinite(first.values).all()


def test_the_sine_has_the_frequency_that_is_commanded():
    found = sine().open()
    y, u = found.values[:, 0], found.inputs[:, 0]
    frequency = 1 / 50 + u * (1 / 10 - 1 / 50)
    # sin(a + w) + sin(a - w) = 2 cos(w) sin(a) where the steps to both sides are of one frequency
    held = u[1:-1] == u[2:]
    np.testing.assert_allclose(
        (y[2:] + y[:-2])[held], (2 * np.cos(2 * math.pi * frequency[1:-1]) * y[1:-1])[held], atol=1e-12
    )
    assert held.mean() > 0.98
    phase = 0.0
    for t in range(200):
        phase += 2 * math.pi * frequency[t]
        assert abs(y[t] - math.sin(phase)) < 1e-12
    steps = np.flatnonzero(np.diff(u)) + 1
    durations = np.diff(np.concatenate([[0], steps]))
    assert durations.min() >= 50 and durations.max() <= 200 and u.min() >= 0 and u.max() <= 1 and len(steps) > 15
    assert (sine(seed=1).open().inputs != found.inputs).any()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"slowest": 5}, "slowest=5, data.fastest=10"),
        ({"longest": 20}, "longest=20"),
        ({"split": "90"}, "data.split=90: take per cent"),
        ({"split": "80-10-20"}, "80-10-20"),
        ({"length": 15}, "data.length=15: too few for data.split=80-10-10"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(Refusal, match=message):
        sine(**change).open()
