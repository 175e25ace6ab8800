"""Real-valued series, by way of values that say where they stand."""

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.series import BEFORE, LINE, Series, SeriesWindows
from pipeline.datasets.space import Reals


def series(n=100, driving=0, standardize=False, observed=1):
    """Values that say where they stand."""
    values = np.arange(n * observed, dtype=float).reshape(n, observed)
    return Series(
        "numbers", values, 1000 + np.arange(n * driving, dtype=float).reshape(n, driving), "80-10-10", standardize
    )


def test_models_read_the_training_parts_units():
    found = series(100, standardize=True)
    train, _ = found.part("train")
    test, inputs = found.part("test")
    assert len(train) == 80 and found.mean == 39.5 and abs(found.std[0] - np.arange(80).std()) < 1e-12
    assert abs(train.mean()) < 1e-12 and abs(train.std() - 1) < 1e-12 and inputs.shape == (10, 0)
    np.testing.assert_allclose(test[:, 0], (np.arange(90, 100) - 39.5) / np.arange(80).std())
    raw, _ = series(100).part("test")
    np.testing.assert_array_equal(raw[:, 0], np.arange(90, 100))


def test_a_constant_channel_is_centred_and_not_scaled():
    found = Series("flat", np.full((50, 1), 3.0), np.empty((50, 0)), "80-10-10", True)
    assert (found.part("validation")[0] == 0).all() and found.std == 1
    rounded = np.full((50, 1), 3.0)
    rounded[::2] = np.nextafter(3.0, 4.0)
    assert Series("flat", rounded, np.empty((50, 0)), "80-10-10", True).std == 1
    assert Series("small", 1e-9 * series(50).values, np.empty((50, 0)), "80-10-10", True).std < 1e-7
    zeros = Series("flat", np.zeros((50, 1)), np.empty((50, 0)), "80-10-10", True)
    assert zeros.std == 1 and zeros.training(1, 10).scale == 1
    assert series(100).training(1, 10).scale == pytest.approx(np.square(np.arange(80)).mean())


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
    ranks = [SeriesWindows(values, inputs, batch, length, rank, world) for rank in range(world)]
    seen = []
    for windows in ranks:
        for step in range(len(windows)):
            window = windows.at(step)
            inside = ~window.targets[..., 0].isnan()
            at = window.positions[inside]
            assert window.inputs.shape == (*window.positions.shape, 1 + driving)
            assert (window.inputs[inside][:, 0] == at).all()
            # What drives the target's step.
            assert (window.inputs[inside][:, 1:].numpy() == inputs[at.numpy() + 1]).all()
            seen += list(zip(at.tolist(), window.targets[inside][:, 0].tolist()))
    assert sorted(seen) == [(t, t + 1) for t in range(n - 1)]
    assert sum(ranks[0].at(step).count for step in range(len(ranks[0]))) == n - 1


def test_streams_are_contiguous_and_start_anew_with_the_epoch():
    windows = series(250).training(4, 7)
    batches = [windows.at(step) for step in range(len(windows) + 1)]
    for before, after in zip(batches, batches[1:-1]):
        assert (after.positions[0] == before.positions[-1] + 1)[:3].all() and after.carried
    assert not batches[0].carried and not batches[-1].carried
    assert torch.equal(batches[-1].inputs, batches[0].inputs)
    assert torch.equal(windows.at(len(windows) + 2).inputs, windows.at(2).inputs)


def test_ranks_share_the_streams_of_one_process():
    whole = series(500, driving=1).training(6, 8).at(3)
    parts = [series(500, driving=1).training(6, 8, rank, 3).at(3) for rank in range(3)]
    for name in ("inputs", "targets", "positions"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], dim=1), getattr(whole, name))
    assert all(part.count == whole.count for part in parts) and whole.inputs.dtype == torch.float64
    single = whole.to(torch.device("cpu"), torch.float32)
    assert single.inputs.dtype == single.targets.dtype == torch.float32 and single.positions.dtype == torch.int64


def test_what_was_not_observed_is_no_target():
    values = np.arange(60, dtype=float).reshape(30, 2)
    values[7, 1] = np.nan
    window = SeriesWindows(values, np.empty((30, 0)), 1, 29).at(0)
    assert window.count == 2 * 29 - 1 and window.targets[6, 0, 1].isnan() and not window.targets[6, 0, 0].isnan()


def test_bad_sizes_are_refused_with_the_mend():
    values, inputs = np.zeros((20, 1)), np.zeros((20, 0))
    with pytest.raises(Refusal, match=r"20 values.*trainer\.batch=4 x trainer\.length=5.*< 20"):
        SeriesWindows(values, inputs, 4, 5)
    with pytest.raises(Refusal, match="trainer.batch=5 cannot be shared by 2"):
        SeriesWindows(values, inputs, 5, 2, 0, 2)
    assert series(100).training(1, 10).nothing == pytest.approx(np.arange(80).var())


@pytest.mark.parametrize("driving", [0, 2])
@pytest.mark.parametrize("most", [None, 7, 500])
def test_a_held_out_part_is_asked_once_after_what_comes_before_it(driving, most):
    found = series(2000, driving=driving)
    [batch] = found.held_out("test", most)
    asked = min(200, most or 200)
    assert batch.count == asked and not batch.carried and batch.inputs.shape == (BEFORE - 1 + asked, 1, 1 + driving)
    seen = found.answers.asked(batch.targets)[:, 0]
    assert batch.targets[seen].flatten().tolist() == list(range(1800, 1800 + asked))
    assert (batch.inputs[seen][:, 0, 0] == batch.targets[seen][:, 0, 0] - 1).all()
    # What drives the target's step.
    assert (batch.inputs[seen][:, 0, 1:].numpy() == found.inputs[1800 : 1800 + asked]).all()
    assert batch.inputs[:, 0, 0].tolist() == list(range(800, 1799 + asked))


def test_at_the_beginning_of_a_series_there_is_less_to_read_before():
    [batch] = series(100).held_out("validation")
    assert batch.inputs[0, 0, 0] == 0 and batch.count == 10 and batch.targets[79, 0, 0] == 80
    assert batch.targets[:79].isnan().all()


class Constant(torch.nn.Module):
    """Foretells a constant."""

    dtype, device = torch.float64, torch.device("cpu")

    def start(self, batch):
        return (torch.zeros(1, batch, 1),)

    def forward(self, x, state):
        return torch.full((*x.shape[:2], 1), 1e9, dtype=torch.float64), state


def test_a_forecast_is_written_as_bars_beside_what_was_observed():
    found = series(2000)

    def written(length):
        return "".join(found.write(Constant(), "", 1.0, length, torch.Generator())).splitlines()

    assert written(0) == [] and written(8) == ["observed ▁▂▃▄▅▆▇█", "forecast ████████"]
    assert [len(line) for line in written(1000)] == [9 + LINE] * (200 // LINE * 2) + [
        9 + 200 % LINE
    ] * 2  # as far as the test part goes
    with pytest.raises(Refusal, match="prompt='King': numbers is written without a prompt: leave it out"):
        found.check_prompt("King")


def test_what_a_trainer_leaves_open_is_one_stream_in_long_windows():
    assert series(100).shape(None, None) == (1, 79) and series(100_000).shape(None, None) == (1, 10_000)
    assert series(100).shape(3, 7) == (3, 7)


def test_spaces_say_what_drives():
    found = series(100, driving=3, observed=2)
    assert (found.reads, found.answers, found.given) == (Reals(5, 3), Reals(2), ()) and found.judged_on == "test"
