"""Windows over a sequence, by way of a text whose symbols say where they stand; and the streams of a held-out part."""

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.datasets.contiguous import held_out_places
from pipeline.datasets.text import TextWindows

V = 7


def read(windows_of_ranks, epochs=1):
    """Every (position, target) that the ranks read in their windows, by way of symbols that say where they stand."""
    seen = []
    for windows in windows_of_ranks:
        for step in range(epochs * len(windows)):
            batch = windows.at(step)
            inside = batch.targets.numpy() != windows.vocabulary
            assert (batch.positions.numpy()[inside] == batch.inputs.numpy()[inside]).all()
            seen += list(zip(batch.inputs.numpy()[inside], batch.targets.numpy()[inside]))
    return seen


@pytest.mark.parametrize(
    "n, batch, length, world", [(101, 4, 5, 1), (103, 4, 5, 2), (27, 6, 4, 3), (26, 5, 5, 1), (26, 1, 25, 1)]
)
def test_every_target_is_read_once_an_epoch_over_all_ranks(n, batch, length, world):
    text = np.arange(n, dtype=np.uint16)
    ranks = [TextWindows(text, n + 1, batch, length, rank, world) for rank in range(world)]
    assert sorted(read(ranks)) == [(t, t + 1) for t in range(n - 1)]
    batches = [ranks[0].at(step) for step in range(len(ranks[0]))]
    assert sum(batch.count for batch in batches) == n - 1 and ranks[0].elements == n
    assert max(len(batch.inputs) for batch in batches) == ranks[0].longest


def test_streams_are_contiguous_across_windows_and_start_anew_with_the_epoch():
    text = np.arange(201, dtype=np.uint16)
    windows = TextWindows(text, 202, 4, 7)
    batches = [windows.at(step) for step in range(len(windows) + 1)]
    for before, after in zip(batches, batches[1:-1]):
        assert (after.inputs[0] == before.inputs[-1] + 1).all()
        assert after.carried
    assert not batches[0].carried and not batches[-1].carried
    assert (batches[-1].inputs == batches[0].inputs).all()


def test_a_later_pass_reads_the_same_windows():
    windows = TextWindows(np.random.default_rng(0).integers(0, V, 300).astype(np.uint8), V, 3, 10)
    for step in (2, 3):
        assert (windows.at(len(windows) + step).inputs == windows.at(step).inputs).all()


def test_ranks_share_the_streams_of_one_process():
    text = np.random.default_rng(1).integers(0, V, 500).astype(np.uint8)
    whole = TextWindows(text, V, 6, 8).at(3)
    parts = [TextWindows(text, V, 6, 8, rank, 3).at(3) for rank in range(3)]
    for name in ("inputs", "targets", "positions"):
        joined = np.concatenate([getattr(part, name) for part in parts], axis=1)
        assert (joined == getattr(whole, name).numpy()).all()
    assert all(part.count == whole.count for part in parts)


def test_bad_sizes_are_refused_with_the_mend():
    with pytest.raises(Refusal, match=r"20 symbols.*trainer\.batch=4 x trainer\.length=5.*< 20"):
        TextWindows(np.zeros(20, np.uint8), V, 4, 5)
    assert len(TextWindows(np.zeros(21, np.uint8), V, 4, 5)) == 1
    with pytest.raises(Refusal, match="trainer.batch=5 cannot be shared by 2"):
        TextWindows(np.zeros(100, np.uint8), V, 5, 2, 0, 2)


@pytest.mark.parametrize("targets", [0, 1, 5, 399, 400, 2345, 10_007])
@pytest.mark.parametrize("streams, burn_in, length", [(1, 10, 7), (8, 10, 250), (32, 50, 33)])
def test_a_held_out_part_is_asked_once_and_each_stream_has_read_what_comes_before(targets, streams, burn_in, length):
    windows = list(held_out_places(targets, streams, burn_in, length))
    if not targets:
        assert not windows
        return
    at, asked = (np.concatenate([window[part] for window in windows]) for part in (0, 1))
    assert sorted(at[asked]) == list(range(targets))
    assert [carried for _, _, carried in windows] == [False] + [True] * (len(windows) - 1)
    assert max(len(window[0]) for window in windows) <= length and at.shape[1] <= streams
    assert at.shape[1] == max(1, min(streams, targets // (4 * burn_in)))
    for stream in range(at.shape[1]):
        own = at[:, stream][: np.flatnonzero(asked[:, stream])[-1] + 1]
        assert (np.diff(own) == 1).all()  # nothing is left out on the way
        first = np.flatnonzero(asked[:, stream])[0]
        assert first == (0 if stream == 0 else burn_in) and asked[first : len(own), stream].all()
        # Never fewer than three times the burn-in, save for what rounding up took from the last.
        assert stream in (0, at.shape[1] - 1) or asked[:, stream].sum() >= 3 * burn_in
