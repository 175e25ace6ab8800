import json
import re

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.series import BEFORE, Series
from pipeline.probes.forecast import Forecast, figure
from tests.probes.test_held_out import Linear, text_of


def driven(length, split="70-15-15"):
    rng = np.random.default_rng(0)
    return Series("made", rng.normal(size=(length, 2)), rng.normal(size=(length, 1)), split, standardize=True)


@pytest.mark.parametrize("length, steps", [(300, 20), (300, 1), (300, 10_000), (20_000, 30)])
def test_a_forecast_reads_itself_and_what_drives_the_series(length, steps):
    """In plain numpy: y^_{t+1} = [y_t or y^_t, u_{t+1}] w + y^_t / 2, from BEFORE elements before the test part on."""
    data = driven(length)
    network, probe = Linear(data.reads, data.answers).train(), Forecast(steps)
    assert probe.fits(network, data) and not Forecast(0).fits(network, data)
    w = network.w.detach().numpy()
    (y, u), start = data.whole, data.borders["test"].start
    stop, last, expected = min(start + steps, length), np.zeros(2), []
    for t in range(max(0, start - BEFORE), stop - 1):
        last = np.concatenate([y[t] if t < start else last, u[t + 1]]) @ w + 0.5 * last
        if t + 1 >= start:
            expected.append(last)
    found = probe.measure(network, data, seed=0)
    assert np.allclose(found["forecast"], expected, rtol=1e-12, atol=0, equal_nan=True)
    assert np.array_equal(found["observed"], y[start:stop]) and network.training


def test_data_say_whether_they_are_forecast():
    text = text_of(np.zeros(60, dtype=np.uint8))
    assert not Forecast(9).fits(None, text)
    with pytest.raises(Refusal, match="is no series to be continued"):
        text.forecast(None, 9)

    class Ramp:
        forecasts = True

        def forecast(self, network, steps):
            return torch.arange(steps)[:, None], torch.zeros(steps, 1)

    assert Forecast(2).fits(None, Ramp()) and not Forecast(0).fits(None, Ramp())
    assert Forecast(2).measure(None, Ramp(), seed=0) == {"observed": [[0], [1]], "forecast": [[0.0], [0.0]]}


def row(data, name, forecast, split="80-10-10"):
    found = {"observed": [[0.0], [1.0], [float("nan")]], "forecast": [[value] for value in forecast]}
    units = {"element": "step"}
    runs = [{"seed": seed, "found": found} for seed in (0, 1)]
    return {"data": data, "split": split, "units": units, "name": name, "study": "signals", "runs": runs}


def test_each_series_has_its_figure_with_its_best_models():
    rows = [row("sine", f"esn {size}", [0.1, 0.2, 0.3]) for size in range(8)] + [
        row("sun", "lds", [0.5, 1e30, float("nan")])
    ]
    sine, sun = Forecast(3).show(json.loads(json.dumps(rows)))
    assert (sine.title, sun.title) == ("Forecasts of sine", "Forecasts of sun")
    assert sine.about.startswith("The 6 best of 8 models. Each reads") and sun.about.startswith("Each reads")
    assert [f"esn {size}" in sine.html for size in range(8)] == [True] * 6 + [False] * 2
    labels = [re.search('aria-label="([^"]*)"', exhibit.html)[1] for exhibit in (sine, sun)]
    assert labels == ["Forecasts of sine, split 80-10-10: signals", "Forecasts of sun, split 80-10-10: signals"]


def test_what_was_observed_sets_the_axis():
    axes = figure([("lds", row("sun", "lds", [0.5, 1e30, -1e30])["runs"][0]["found"])]).axes[0]
    assert axes.get_ylim() == (-0.5, 1.5)
    assert [line.get_label() for line in axes.lines] == ["observed", "lds"]
    assert list(axes.lines[1].get_ydata()) == [0.5, 1e30, -1e30]


def test_a_series_of_one_channel_that_never_changes_is_drawn():
    found = {"observed": [[2.0]], "forecast": [[2.0]]}
    assert figure([("lds", found)]).axes[0].get_ylim() == (1.5, 2.5)
