"""Contiguous symbol streams for stateful truncated backpropagation through time.

Shapes: T time, B streams. N symbols give N - 1 targets; B streams side by side share them out contiguously, the first
ones one target longer where B does not divide them. One epoch is one pass: window w holds steps wT..(w+1)T of every
stream, the last window what is left. Every target is read exactly once an epoch; states start anew with it.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.command.refusal import Refusal


class Window(NamedTuple):
    inputs: Tensor  # [T, B of this rank] int64, symbol at each step
    targets: Tensor  # [T, B of this rank] int64, the next symbol; V (not scored) where a stream has ended
    count: int  # targets that are not padding, over all ranks
    reset: bool  # the streams start here
    positions: Tensor  # [T, B of this rank] int64, where in the training part each input stands; its target follows it


class Contiguous:
    """Where the windows of `batch` streams over `elements` elements stand; this rank's share of them.

    kind, whole  what the elements and their whole are called
    rank, world  rank r reads streams r*B/world .. (r+1)*B/world - 1, so a run's data do not depend
                 on the number of ranks
    Raises Refusal when the elements do not fill one window, or when world does not divide batch.
    """

    def __init__(self, elements: int, kind: str, whole: str, batch: int, length: int, rank: int, world: int):
        if batch % world:
            raise Refusal(f"trainer.batch={batch} cannot be shared by {world} devices: take a multiple of {world}")
        if elements - 1 < batch * length:
            raise Refusal(
                f"the training part has {elements:,} {kind}, too few for one window of trainer.batch={batch} x "
                f"trainer.length={length}: take a longer {whole}, or smaller ones (batch * length < {elements})"
            )
        self.elements, self.batch, self.length = elements, batch, length
        share, longer = divmod(elements - 1, batch)
        stream = np.arange(batch)
        self.starts = stream * share + np.minimum(stream, longer)
        self.lengths = share + (stream < longer)
        self.steps = int(self.lengths[0])
        self.own = slice(rank * batch // world, (rank + 1) * batch // world)

    def __len__(self) -> int:
        """Windows in an epoch."""
        return -(-self.steps // self.length)

    def places(self, step: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """Of training step `step`, for all ranks: where each input stands [T, B], 0 where its stream has ended; whether
        it has not; and whether the streams start here."""
        first = step % len(self) * self.length
        offsets_T1 = np.arange(first, min(first + self.length, self.steps))[:, None]
        inside_TB = offsets_T1 < self.lengths
        return np.where(inside_TB, self.starts + offsets_T1, 0), inside_TB, first == 0

    def window(self, step: int) -> Window:
        """The window of training step `step` = 0, 1, ...; a pure function of it."""
        raise NotImplementedError

    def epochs_from(self, step: int) -> Iterator[Window]:
        """Windows from training step `step` on, epoch after epoch, without end."""
        while True:
            yield self.window(step)
            step += 1


class Streams(Contiguous):
    """Windows of `batch` streams over `symbols` (1-D, unsigned, values 0..V), `length` steps each;
    this rank's share of them."""

    def __init__(self, symbols: np.ndarray, vocabulary: int, batch: int, length: int, rank: int = 0, world: int = 1):
        super().__init__(len(symbols), "symbols", "text", batch, length, rank, world)
        self.symbols, self.vocabulary = symbols, vocabulary
        self.nothing = math.log(vocabulary)  # the loss of knowing nothing

    def window(self, step: int) -> Window:
        at_TB, inside_TB, reset = self.places(step)
        own_TB = at_TB[:, self.own]
        inputs = self.symbols[own_TB].astype(np.int64)
        targets = np.where(inside_TB[:, self.own], self.symbols[own_TB + 1], self.vocabulary).astype(np.int64)
        return Window(
            torch.from_numpy(inputs), torch.from_numpy(targets), int(inside_TB.sum()), reset, torch.from_numpy(own_TB)
        )
