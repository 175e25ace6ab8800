"""What is foretold of returns, against sums over days that are written out."""

import numpy as np
import pytest
import torch

from pipeline.datasets.series import Series
from pipeline.datasets.space import Reals
from pipeline.datasets.stocks import Returns
from pipeline.models.delay_taps import DelayTaps
from pipeline.probes.returns import ReturnsForetold, against_naive


def test_days_are_counted_against_the_naive_forecast():
    returns = np.array([0.02, -0.01, -1e-10, 0.03])  # the third is 0, standardized and back
    found = against_naive(returns, np.array([0.01, 0.01, 0.01, -0.01]))
    errors = [0.01**2, 0.02**2, 0.01**2, 0.04**2]
    naive = [0.02**2, 0.01**2, 0.0, 0.03**2]
    assert found["explained"] == pytest.approx(1 - sum(errors) / sum(naive))
    gains = np.subtract(naive, errors)
    spread = np.sqrt(((gains - gains.mean()) ** 2).sum() / 3 / 4)
    assert found["explained_error"] == pytest.approx(1.96 * spread / np.mean(naive))
    assert found["direction"] == pytest.approx(1 / 3) and found["rose"] == pytest.approx(2 / 3)
    assert found["direction_error"] == pytest.approx(1.96 * np.sqrt(1 / 3 * 2 / 3 / 3)) and found["days"] == 4


@pytest.mark.parametrize("standardize", [True, False])
def test_forecasts_are_in_the_units_of_returns_and_of_the_test_part(standardize):
    """A network that says that tomorrow's return is half of today's, of returns of which that is so."""
    draw, values = np.random.default_rng(0), [0.01]
    for _ in range(199):
        values.append(0.5 * values[-1] + 0.01 * draw.normal() + 0.004)
    series = Returns("stocks", np.array(values)[:, None], np.empty((200, 0)), "50-25-25", standardize)
    network = DelayTaps(Reals(1), Reals(1), (), taps=1).double()
    with torch.no_grad():
        network.weight.fill_(0.5)
    found = ReturnsForetold().measure(network, series, 0)
    test, before = np.array(values[150:]), np.array(values[149:199])
    mean = np.mean(values[:100]) if standardize else 0.0
    expected = against_naive(test, mean + 0.5 * (before - mean))
    assert found == pytest.approx(expected) and found["explained"] > 0.1
    assert ReturnsForetold().fits(network, series)
    assert not ReturnsForetold().fits(network, Series("s", series.values, series.inputs, "50-25-25", True))


def test_a_table_shows_intervals_beside_those_who_always_say_that_it_rises():
    found = {"explained": -0.001, "explained_error": 0.0101, "direction": 0.52, "direction_error": 0.04}
    row = {
        "name": "rnn",
        "data": "stocks",
        "split": "s",
        "units": {},
        "runs": [{"found": found | {"rose": 0.55, "days": 9}}],
    }
    [exhibit] = ReturnsForetold().show([row])
    assert "−0.10% (−1.11% to 0.91%)" in exhibit.html and "52.0% (48.0% to 56.0%)" in exhibit.html
    assert "over 9 days" in exhibit.about and "rose on 55.0%" in exhibit.about
