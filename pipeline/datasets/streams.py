"""Contiguous symbol streams for stateful truncated backpropagation through time.

Shapes: T time, B streams. N symbols give N - 1 targets; B streams side by side share them out contiguously, the first ones
one target longer where B does not divide them. One epoch is one pass: window w holds steps wT..(w+1)T of every stream, the
last window what is left. Every target is read exactly once an epoch; states start anew with it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.verb import Refusal


class Window(NamedTuple):
    inputs: Tensor      # [T, B of this rank] int64, symbol at each step
    targets: Tensor     # [T, B of this rank] int64, the next symbol; V (not scored) where a stream has ended
    count: int          # targets that are not padding, over all ranks
    reset: bool         # the streams start here


class Streams:
    """Windows of `batch` streams over `symbols` (1-D, unsigned, values 0..V), `length` steps each; this rank's share of them.

    rank, world  rank r reads streams r*B/world .. (r+1)*B/world - 1, so a run's data do not depend on the number of ranks
    Raises Refusal when the symbols do not fill one window, or when world does not divide batch.
    """

    def __init__(self, symbols: np.ndarray, vocabulary: int, batch: int, length: int, rank: int = 0, world: int = 1):
        if batch % world:
            raise Refusal(f"trainer.batch={batch} cannot be shared by {world} devices: take a multiple of {world}")
        if len(symbols) - 1 < batch * length:
            raise Refusal(f"the training part has {len(symbols):,} symbols, too few for one window of trainer.batch={batch} x "
                             f"trainer.length={length}: take a longer text, or smaller ones (batch * length < {len(symbols)})")
        self.symbols, self.vocabulary, self.batch, self.length = symbols, vocabulary, batch, length
        share, longer = divmod(len(symbols) - 1, batch)
        stream = np.arange(batch)
        self.starts = stream * share + np.minimum(stream, longer)
        self.lengths = share + (stream < longer)
        self.steps = int(self.lengths[0])
        self.own = slice(rank * batch // world, (rank + 1) * batch // world)

    def __len__(self) -> int:
        """Windows in an epoch."""
        return -(-self.steps // self.length)

    def window(self, step: int) -> Window:
        """The window of training step `step` = 0, 1, ...; a pure function of it."""
        first = step % len(self) * self.length
        last = min(first + self.length, self.steps)
        offsets_T1 = np.arange(first, last)[:, None]
        inside_TB = offsets_T1 < self.lengths
        at_TB = np.where(inside_TB, self.starts + offsets_T1, 0)[:, self.own]
        inputs = self.symbols[at_TB].astype(np.int64)
        targets = np.where(inside_TB[:, self.own], self.symbols[at_TB + 1], self.vocabulary).astype(np.int64)
        return Window(torch.from_numpy(inputs), torch.from_numpy(targets), int(inside_TB.sum()), first == 0)

    def epochs_from(self, step: int) -> Iterator[Window]:
        """Windows from training step `step` on, epoch after epoch, without end."""
        while True:
            yield self.window(step)
            step += 1
