import math

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from pipeline.command.refusal import Refusal
from pipeline.datasets.series import Series, SeriesStreams, split_borders
from pipeline.datasets.signals import MackeyGlass, Sine, Sunspots, reservoirpy_step, runge_kutta
from pipeline.datasets.space import Reals
from tests.conftest import composed


def series(n=100, driving=0, standardize=False, observed=1):
    """Values that say where they stand."""
    values = np.arange(n * observed, dtype=float).reshape(n, observed)
    return Series(
        "numbers", values, 1000 + np.arange(n * driving, dtype=float).reshape(n, driving), "80-10-10", standardize
    )


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


@pytest.mark.parametrize(
    "name, length, space",
    [("sine", 20000, Reals(1, 1)), ("mackey_glass", 20000, Reals(1, 0)), ("sunspots", 309, Reals(1, 0))],
)
def test_choices_compose_and_generate_the_same_series_again(name, length, space):
    data = composed(f"data={name}").data
    first, second = (
        instantiate({key: value for key, value in data.items() if key in ("_target_", *_settings(name))}).generate()
        for _ in range(2)
    )
    assert (first.name, len(first.values), first.space) == (name, length, space)
    assert (first.values == second.values).all() and first.card == second.card and np.isfinite(first.values).all()


def _settings(name):
    return {"sine": Sine, "mackey_glass": MackeyGlass, "sunspots": Sunspots}[name].__dataclass_fields__


def test_the_sine_has_the_frequency_that_is_commanded():
    found = sine().generate()
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
    assert (sine(seed=1).generate().inputs != found.inputs).any()


def test_mackey_glass_is_reservoirpys_to_the_bit():
    """Published figures compare on the same series only: values that reservoirpy 0.4.2 gives,
    and all of them where it is installed."""
    found = mackey_glass().generate().values
    np.testing.assert_allclose(
        found[[0, 1, 2, 500], 0], [1.2, 1.13753884113329, 1.0616870347091791, 1.0057232176218298], rtol=1e-9
    )
    datasets = pytest.importorskip("reservoirpy.datasets", reason="reservoirpy is not installed")
    np.testing.assert_array_equal(found, datasets.mackey_glass(2000))
    np.testing.assert_array_equal(
        mackey_glass(tau=30, seed=3).generate().values, datasets.mackey_glass(2000, tau=30, seed=3)
    )


@pytest.mark.parametrize("x, gain, b", [(1.2, 0.05, 0.1), (0.4, 0.18, 0.1), (1.0, 0.0, 0.5)])
def test_a_step_of_runge_kutta_is_the_held_equations_solution(x, gain, b):
    exact = x * math.exp(-b) + gain * (1 - math.exp(-b)) / b
    assert abs(runge_kutta(x, gain, b) - exact) <= abs(gain - b * x) * b**4 / 120
    # Short, as documented.
    assert (reservoirpy_step(x, gain, b) - x) / (exact - x) == pytest.approx({0.1: 0.968, 0.5: 0.885}[b], abs=0.02)


def test_the_schemes_step_through_the_delayed_value():
    found = mackey_glass(scheme="runge_kutta", seed=None, tau=5, length=40).generate().values[:, 0]
    before = np.full(5, 1.2)
    x = np.concatenate([before, [1.2]])
    for _ in range(39):
        delayed = x[-6]
        x = np.append(x, x[-1] * math.exp(-0.1) + 0.2 * delayed / (1 + delayed**10) * (1 - math.exp(-0.1)) / 0.1)
    np.testing.assert_allclose(found, x[5:], atol=1e-5)


def test_sunspots_are_those_of_the_years():
    found = Sunspots("70-15-15", True).generate()
    years = dict(zip(range(1700, 2009), found.values[:, 0]))
    assert (
        len(found.values) == 309
        and years[1700] == 5
        and years[1957] == 190.2 == found.values.max()
        and years[2008] == 2.9
    )
    assert [border.stop for border in found.borders.values()] == [216, 262, 309]


def test_bad_settings_are_refused():
    for make, message in (
        (lambda: sine(slowest=5), "slowest=5, data.fastest=10"),
        (lambda: sine(shortest=0), "shortest=0"),
        (lambda: sine(longest=20), "longest=20"),
        (lambda: sine(length=0), "data.length=0"),
        (lambda: sine(fastest=2), "fastest > 2"),
        (lambda: mackey_glass(scheme="euler"), "data.scheme=euler: take reservoirpy or runge_kutta"),
        (lambda: mackey_glass(tau=0), "data.tau=0"),
        (lambda: sine(split="90-10"), "data.split=90-10: take per cent"),
        (lambda: sine(split="80-10-20"), "80-10-20"),
        (lambda: sine(length=15), "data.length=15: too few for data.split=80-10-10"),
    ):
        with pytest.raises(Refusal, match=message):
            make().generate()


def test_parts_are_contiguous_and_whole():
    parts = split_borders(309, "70-15-15")
    assert [(part.start, part.stop) for part in parts.values()] == [(0, 216), (216, 262), (262, 309)]


def test_models_read_the_training_parts_units():
    found = series(100, standardize=True)
    train, _ = found.part("train")
    test, inputs = found.part("test")
    assert found.elements == 80 and found.mean == 39.5 and abs(found.std[0] - np.arange(80).std()) < 1e-12
    assert abs(train.mean()) < 1e-12 and abs(train.std() - 1) < 1e-12 and inputs.shape == (10, 0)
    np.testing.assert_allclose(test[:, 0], (np.arange(90, 100) - 39.5) / np.arange(80).std())
    raw, _ = series(100).part("test")
    np.testing.assert_array_equal(raw[:, 0], np.arange(90, 100))


def test_a_constant_channel_is_centred_and_not_scaled():
    found = Series("flat", np.full((50, 1), 3.0), np.empty((50, 0)), "80-10-10", True)
    assert (found.part("validation")[0] == 0).all() and found.std == 1


def test_the_fingerprint_is_of_all_that_a_model_sees():
    base = series(100, driving=1)
    changed = [
        series(100, driving=1, standardize=True),
        series(101, driving=1),
        series(100),
        Series("numbers", base.values, base.inputs + 1e-12, "80-10-10", False),
        Series("numbers", base.values, base.inputs, "70-15-15", False),
    ]
    assert len({one.card["fingerprint"] for one in (base, *changed)}) == 6
    assert base.card == series(100, driving=1).card and base.card["counts"] == {
        "train": 80,
        "validation": 10,
        "test": 10,
    }


@pytest.mark.parametrize(
    "n, batch, length, world", [(101, 4, 5, 1), (103, 4, 5, 2), (27, 6, 4, 3), (26, 5, 5, 1), (26, 1, 25, 1)]
)
@pytest.mark.parametrize("driving", [0, 2])
def test_every_target_is_read_once_an_epoch_over_all_ranks(n, batch, length, world, driving):
    values, inputs = np.arange(n, dtype=float)[:, None], 1000.0 + np.arange(n * driving).reshape(n, driving)
    ranks = [SeriesStreams(values, inputs, batch, length, rank, world, torch.float64) for rank in range(world)]
    seen = []
    for streams in ranks:
        for step in range(len(streams)):
            window = streams.window(step)
            inside = ~window.targets[..., 0].isnan()
            at = window.positions[inside]
            assert window.inputs.shape == (*window.positions.shape, 1 + driving)
            assert (window.inputs[inside][:, 0] == at).all()
            # What drives the target's step.
            assert (window.inputs[inside][:, 1:].numpy() == inputs[at.numpy() + 1]).all()
            seen += list(zip(at.tolist(), window.targets[inside][:, 0].tolist()))
    assert sorted(seen) == [(t, t + 1) for t in range(n - 1)]
    assert sum(ranks[0].window(step).count for step in range(len(ranks[0]))) == n - 1


def test_streams_are_contiguous_and_start_anew_with_the_epoch():
    streams = series(250).streams(4, 7)
    windows = [streams.window(step) for step in range(len(streams) + 1)]
    for before, after in zip(windows, windows[1:-1]):
        assert (after.positions[0] == before.positions[-1] + 1)[:3].all() and not after.reset
    assert windows[0].reset and windows[-1].reset and torch.equal(windows[-1].inputs, windows[0].inputs)
    late = streams.epochs_from(len(streams) + 2)
    assert torch.equal(next(late).inputs, streams.window(2).inputs)


def test_ranks_share_the_streams_of_one_process():
    whole = series(500, driving=1).streams(6, 8, dtype=torch.float64).window(3)
    parts = [series(500, driving=1).streams(6, 8, rank, 3, torch.float64).window(3) for rank in range(3)]
    for name in ("inputs", "targets", "positions"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], dim=1), getattr(whole, name))
    assert all(part.count == whole.count for part in parts) and whole.inputs.dtype == torch.float64
    assert series(500).streams(6, 8).window(0).targets.dtype == torch.float32


def test_what_was_not_observed_is_no_target():
    values = np.arange(60, dtype=float).reshape(30, 2)
    values[7, 1] = np.nan
    window = SeriesStreams(values, np.empty((30, 0)), 1, 29).window(0)
    assert window.count == 2 * 29 - 1 and window.targets[6, 0, 1].isnan() and not window.targets[6, 0, 0].isnan()


def test_bad_sizes_are_refused_with_the_mend():
    values, inputs = np.zeros((20, 1)), np.zeros((20, 0))
    with pytest.raises(Refusal, match=r"20 values.*trainer\.batch=4 x trainer\.length=5.*< 20"):
        SeriesStreams(values, inputs, 4, 5)
    with pytest.raises(Refusal, match="trainer.batch=5 cannot be shared by 2"):
        SeriesStreams(values, inputs, 5, 2, 0, 2)
    assert series(100).streams(1, 10).nothing == pytest.approx(np.arange(80).var())
