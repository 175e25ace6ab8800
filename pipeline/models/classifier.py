"""One answer from all that was read."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pipeline.cells.cell import State
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Space
from pipeline.models.model import SequenceModel
from pipeline.models.recurrent import RecurrentNetwork


class Classifier(RecurrentNetwork):
    """A recurrent network whose readout sees what its last layer (with skip_connections: all layers) gave at all steps
    so far: z_t = readout(1/t sum_{s=1}^{t} h_s) with pooling "mean", z_t = readout(max_{s<=t} h_s), number by number,
    with "max", z_t = readout(h_t) with "last". Asked at a sequence's last step, the answer rests on all of it.

    pooling   "last", "mean" or "max"
    The others are those of RecurrentNetwork. The state: that of the network, then what is pooled [1, B, H] and the
    number of steps [1, B, 1].
    """

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        pooling: Literal["last", "mean", "max"],
        **more: object,
    ):
        super().__init__(reads, answers, given, **more)
        self.pooling = pooling

    def start(self, batch: int, *given: Tensor) -> State:
        own = super().start(batch, *given)
        layers = len(self.stack.cells) if self.skip_connections else 1
        first = -torch.inf if self.pooling == "max" else 0.0
        pooled = own[0].new_full((1, batch, layers * self.stack.width), first)
        return *own, pooled, own[0].new_zeros(1, batch, 1)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, state = self._pooled(x, state)
        return self.readout(h), state

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, State]:
        h, state = self._pooled(batch.inputs, state)
        return self.readout.loss(h, batch.targets), state

    def activities(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        outputs, own = self.stack(self.read(x), state[:-2])
        return outputs, (*own, *self._pool(outputs, state)[1])

    def observe(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        outputs, own = self.stack(self.read(x), state[:-2])
        h, pooled = self._pool(outputs, state)
        return self.readout(h), outputs, (*own, *pooled)

    def memory_cells(self, x: Tensor, state: State) -> list[dict[str, Tensor]]:
        return super().memory_cells(x, state[:-2])

    def stepper(self, state: State) -> Callable[[int], Tensor]:
        return SequenceModel.stepper(self, state)

    def _pooled(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, own = self.stack(self.read(x), state[:-2])
        h, pooled = self._pool(outputs, state)
        return h, (*own, *pooled)

    def _pool(self, outputs: list[Tensor], state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """What the readout sees [T, B, H], and what is pooled and the number of steps after."""
        *_, before, steps = state
        h = self.seen(outputs)
        counted = steps + torch.arange(1, len(h) + 1, dtype=h.dtype, device=h.device)[:, None, None]
        if self.pooling == "mean":
            sums = before + h.cumsum(0)
            return sums / counted, (sums[-1:], counted[-1:])
        if self.pooling == "max":
            h = torch.maximum(h.cummax(0).values, before)
        return h, (h[-1:], counted[-1:])
