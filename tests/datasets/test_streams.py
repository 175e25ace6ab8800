import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.datasets.streams import Streams

V = 7


def read(streams_of_ranks, epochs=1):
    """Every (position, target) that the ranks read in their windows, by way of symbols that say where they stand."""
    seen = []
    for streams in streams_of_ranks:
        for step in range(epochs * len(streams)):
            window = streams.window(step)
            inside = window.targets.numpy() != streams.vocabulary
            seen += list(zip(window.inputs.numpy()[inside], window.targets.numpy()[inside]))
    return seen


@pytest.mark.parametrize(
    "n, batch, length, world", [(101, 4, 5, 1), (103, 4, 5, 2), (27, 6, 4, 3), (26, 5, 5, 1), (26, 1, 25, 1)]
)
def test_every_target_is_read_once_an_epoch_over_all_ranks(n, batch, length, world):
    text = np.arange(n, dtype=np.uint16)
    ranks = [Streams(text, n + 1, batch, length, rank, world) for rank in range(world)]
    assert sorted(read(ranks)) == [(t, t + 1) for t in range(n - 1)]
    assert sum(ranks[0].window(step).count for step in range(len(ranks[0]))) == n - 1


def test_streams_are_contiguous_across_windows_and_reset_at_the_epoch():
    text = np.arange(201, dtype=np.uint16)
    streams = Streams(text, 202, 4, 7)
    windows = [streams.window(step) for step in range(len(streams) + 1)]
    for before, after in zip(windows, windows[1:-1]):
        assert (after.inputs[0] == before.inputs[-1] + 1).all()
        assert not after.reset
    assert windows[0].reset and windows[-1].reset
    assert (windows[-1].inputs == windows[0].inputs).all()


def test_a_later_start_reads_the_same_windows():
    streams = Streams(np.random.default_rng(0).integers(0, V, 300).astype(np.uint8), V, 3, 10)
    late = streams.epochs_from(len(streams) + 2)
    for step in (2, 3):
        assert (next(late).inputs == streams.window(step).inputs).all()


def test_ranks_share_the_streams_of_one_process():
    text = np.random.default_rng(1).integers(0, V, 500).astype(np.uint8)
    whole = Streams(text, V, 6, 8).window(3)
    parts = [Streams(text, V, 6, 8, rank, 3).window(3) for rank in range(3)]
    assert (np.concatenate([part.inputs for part in parts], axis=1) == whole.inputs.numpy()).all()
    assert all(part.count == whole.count for part in parts)


def test_bad_sizes_are_refused_with_the_mend():
    with pytest.raises(Refusal, match=r"20 symbols.*trainer\.batch=4 x trainer\.length=5.*< 20"):
        Streams(np.zeros(20, np.uint8), V, 4, 5)
    assert len(Streams(np.zeros(21, np.uint8), V, 4, 5)) == 1
    with pytest.raises(Refusal, match="trainer.batch=5 cannot be shared by 2"):
        Streams(np.zeros(100, np.uint8), V, 5, 2, 0, 2)
