"""The Mackey-Glass equation, to the bit as reservoirpy has it."""

import math

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.datasets.mackey_glass import MackeyGlass, reservoirpy_step, runge_kutta
from pipeline.datasets.space import Reals
from tests.conftest import composed


def mackey_glass(**changes):
    return MackeyGlass(
        **{
            "length": 2000,
            "tau": 17,
            "a": 0.2,
            "b": 0.1,
            "n": 10,
            "start": 1.2,
            "scheme": "reservoirpy",
            "seed": 5555,
            "split": "80-10-10",
            "standardize": False,
        }
        | changes
    )


def test_the_choice_composes_and_makes_the_same_series_again():
    first, second = (load_data(composed("data=mackey_glass").data) for _ in range(2))
    assert (first.name, len(first.values), first.reads, first.answers) == ("mackey_glass", 20000, Reals(1), Reals(1))
    assert (first.values == second.values).all() and first.card == second.card and np.isfinite(first.values).all()


def test_mackey_glass_is_reservoirpys_to_the_bit():
    """Published figures compare on the same series only: values that reservoirpy 0.4.2 gives,
    and all of them where it is installed."""
    found = mackey_glass().open().values
    np.testing.assert_allclose(
        found[[0, 1, 2, 500], 0], [1.2, 1.13753884113329, 1.0616870347091791, 1.0057232176218298], rtol=1e-9
    )
    datasets = pytest.importorskip("reservoirpy.datasets", reason="reservoirpy is not installed")
    np.testing.assert_array_equal(found, datasets.mackey_glass(2000))
    np.testing.assert_array_equal(
        mackey_glass(tau=30, seed=3).open().values, datasets.mackey_glass(2000, tau=30, seed=3)
    )


@pytest.mark.parametrize("x, gain, b", [(1.2, 0.05, 0.1), (0.4, 0.18, 0.1), (1.0, 0.0, 0.5)])
def test_a_step_of_runge_kutta_is_the_held_equations_solution(x, gain, b):
    exact = x * math.exp(-b) + gain * (1 - math.exp(-b)) / b
    assert abs(runge_kutta(x, gain, b) - exact) <= abs(gain - b * x) * b**4 / 120
    # Short, as documented.
    assert (reservoirpy_step(x, gain, b) - x) / (exact - x) == pytest.approx({0.1: 0.968, 0.5: 0.885}[b], abs=0.02)


def test_the_schemes_step_through_the_delayed_value():
    found = mackey_glass(scheme="runge_kutta", seed=None, tau=5, length=40).open().values[:, 0]
    before = np.full(5, 1.2)
    x = np.concatenate([before, [1.2]])
    for _ in range(39):
        delayed = x[-6]
        x = np.append(x, x[-1] * math.exp(-0.1) + 0.2 * delayed / (1 + delayed**10) * (1 - math.exp(-0.1)) / 0.1)
    np.testing.assert_allclose(found, x[5:], atol=1e-5)


@pytest.mark.parametrize("change", [{"start": 1e300, "b": -0.1}, {"a": 1e308, "n": -10.0}])
def test_what_runs_away_is_refused(change):
    with pytest.raises(Refusal, match=r"^data=mackey_glass: the series leaves the range of numbers .* take other"):
        mackey_glass(**change, length=20_000).open()
