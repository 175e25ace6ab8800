"""Where the tensors of a step lie in buffers that are kept from one step, and from one pass, to the next."""

from dataclasses import dataclass

from torch import Tensor
from torch.fx import Node

from pipeline.recurrence.operators import pieces


class Slot:
    """time step -> a buffer, or a part of one."""

    def at(self, t: int) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Shared(Slot):
    """The same buffer at every step."""

    buffer: Tensor

    def at(self, t: int) -> Tensor:
        return self.buffer


@dataclass(frozen=True, eq=False)
class Timed(Slot):
    """Part t + shift of a buffer [T, ...]."""

    buffer: Tensor
    shift: int = 0

    def at(self, t: int) -> Tensor:
        return self.buffer[t + self.shift]


@dataclass(frozen=True, eq=False)
class Alternating(Slot):
    """One of the two parts of a buffer [2, ...] at even t + shift, the other at odd."""

    buffer: Tensor
    shift: int = 0

    def at(self, t: int) -> Tensor:
        return self.buffer[(t + self.shift) % 2]


@dataclass(frozen=True, eq=False)
class Viewed(Slot):
    """Another slot in another shape."""

    slot: Slot
    shape: tuple[int, ...]

    def at(self, t: int) -> Tensor:
        return self.slot.at(t).view(self.shape)


@dataclass(frozen=True, eq=False)
class Piece(Slot):
    """One of the parts that an operator joins, in the slot of the whole."""

    slot: Slot
    joining: Node
    index: int

    def at(self, t: int) -> Tensor:
        return pieces(self.joining, self.slot.at(t))[self.index]
