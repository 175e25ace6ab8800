"""Contiguous sequences read side by side, for truncated backpropagation through time with the state carried.

Shapes: T time, B streams. N elements give N - 1 targets, each the element after one that is read; B streams side by
side share them out contiguously, the first ones one target longer where B does not divide them. One pass: window w
holds steps wT..(w+1)T of every stream, the last window what is left. Every target is asked exactly once a pass; states
start anew with it.
"""

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batches


class Windows(Batches):
    """Where the windows of B streams over `elements` elements stand.

    kind, whole  what the elements and their whole are called
    Raises Refusal when the elements do not fill one window, or when world does not divide batch.
    """

    def __init__(self, elements: int, kind: str, whole: str, batch: int, length: int, rank: int, world: int):
        super().__init__(batch, rank, world)
        if elements - 1 < batch * length:
            raise Refusal(
                f"the training part has {elements:,} {kind}, too few for one window of trainer.batch={batch} x "
                f"trainer.length={length}: take a longer {whole}, or smaller ones (batch * length < {elements})"
            )
        self._elements, self.length = elements, length
        share, longer = divmod(elements - 1, batch)
        stream = np.arange(batch)
        self.starts = stream * share + np.minimum(stream, longer)
        self.lengths = share + (stream < longer)
        self.steps = int(self.lengths[0])
        self.longest = min(length, self.steps)

    @property
    def elements(self) -> int:
        return self._elements

    @property
    def reach(self) -> int:
        return self.steps

    def __len__(self) -> int:
        return -(-self.steps // self.length)

    def places(self, step: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """Of training step `step`, for all ranks: where each input stands [T, B], 0 where its stream has ended; whether
        it has not; and whether the streams go on from the window before."""
        first = step % len(self) * self.length
        offsets_T1 = np.arange(first, min(first + self.length, self.steps))[:, None]
        inside_TB = offsets_T1 < self.lengths
        return np.where(inside_TB, self.starts + offsets_T1, 0), inside_TB, first > 0

    @abstractmethod
    def at(self, step: int):
        """As Batches."""


def held_out_places(
    targets: int, streams: int, burn_in: int, length: int, restart: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """`targets` elements as up to `streams` streams side by side, each asked once: where inputs stand [T, B], which of
    them have a target that is asked, and whether the streams go on, window by window of `length` steps.

    Each stream but the first reads `burn_in` elements more before what it is asked, which stand in for all that came
    before; a stream is never asked fewer than three times as many.
    restart  a stream is no longer than so many steps, its burn-in (at most half of it) included: then there are as many
             streams as it takes, up to `streams` side by side and the next ones after them
    """
    if restart is None:
        count = max(1, min(streams, targets // (4 * burn_in)))
        share = -(-(targets + (count - 1) * burn_in) // count)  # steps of a stream, its burn-in included
    else:
        share, burn_in = min(restart, targets), min(burn_in, restart // 2)
        count = max(1, -(-(targets - burn_in) // (share - burn_in)))
    for first in range(0, count, streams):
        stream = np.arange(first, min(first + streams, count))
        for start in range(0, share, length):
            offsets_T1 = np.arange(start, min(start + length, share))[:, None]
            at_TB = stream * (share - burn_in) + offsets_T1
            inside_TB = at_TB < targets
            asked_TB = inside_TB & ((offsets_T1 >= burn_in) | (stream == 0))
            yield np.where(inside_TB, at_TB, 0), asked_TB, start > 0
