"""What a model reads at once, and the order in which it reads the training part.

Shapes: T time, B sequences, D width of what is read, O width of what is answered.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.command.refusal import Refusal


class Batch(NamedTuple):
    """Sequences that are read side by side. Steps may be read and not asked: their targets are blank.

    inputs     [T, B] symbols, int64, or [T, B, D] numbers, float64
    targets    [T, B] or [T, B, O]; blank where nothing is asked
    count      numbers that are asked, over all ranks: what the sum of the losses is divided by
    carried    whether the sequences go on from the batch before, with its last state
    given      what is known before the first step, [B, ...] each
    positions  [T, B] int64: where in its part each input stands, the same in every pass; of training, and of text
    """

    inputs: Tensor
    targets: Tensor
    count: int
    carried: bool = False
    given: tuple[Tensor, ...] = ()
    positions: Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Batch":
        """On a device, with real numbers of this type. A GPU is not waited for: what it was asked for goes on."""

        def moved(part: Tensor) -> Tensor:
            kind = dtype if part.is_floating_point() else part.dtype
            if device.type != "cuda":
                return part.to(device, kind)
            # What goes without a wait lies in pinned memory side by side, of whatever `part` is a view.
            return torch.empty(part.shape, dtype=kind, pin_memory=True).copy_(part).to(device, non_blocking=True)

        positions = None if self.positions is None else moved(self.positions)
        given = tuple(map(moved, self.given))
        return self._replace(inputs=moved(self.inputs), targets=moved(self.targets), given=given, positions=positions)

    def sequences(self, chosen: Tensor | slice) -> "Batch":
        """Some of the sequences, by their numbers; the count stays that of the whole."""
        parts = (self.inputs, self.targets, self.positions)
        inputs, targets, positions = (None if part is None else part[:, chosen] for part in parts)
        given = tuple(part[chosen] for part in self.given)
        return self._replace(inputs=inputs, targets=targets, given=given, positions=positions)


class Reading(NamedTuple):
    """How far the state has come where something is asked, in a held-out part that is one sequence.

    burn_in  elements that are read before the first that is asked; None: as many as the data take
    restart  the state starts anew after so many elements, the burn-in among them; None: never
    """

    burn_in: int | None = None
    restart: int | None = None


THROUGHOUT = Reading()


def check_shared(batch: int, world: int) -> None:
    """Raises Refusal where the sequences of a batch cannot be shared alike by so many ranks."""
    if batch % world:
        raise Refusal(f"trainer.batch={batch} cannot be shared by {world} devices: take a multiple of {world}")


class Batches(ABC):
    """The training part in batches; this rank's share of each.

    batch    B sequences, over all ranks together;  longest  T of the longest batch
    rank, world  rank r reads sequences r B / world .. (r + 1) B / world - 1 of each batch, `own`: what is read does not
             depend on the number of ranks
    nothing  the loss of an element, for one who knows nothing
    Raises Refusal when world does not divide batch.
    """

    nothing: float
    longest: int

    def __init__(self, batch: int, rank: int, world: int):
        check_shared(batch, world)
        self.batch = batch
        self.own = slice(rank * batch // world, (rank + 1) * batch // world)

    @property
    def reach(self) -> int:
        """Steps of the longest sequence, from its start over all batches into which it is cut."""
        return self.longest

    @property
    def scale(self) -> float:
        """Of losses, to tell those that are far too great: what knowing nothing costs, and 1 at least, for models begin
        with answers of about 1 also where there is next to nothing to know."""
        return max(1.0, self.nothing)

    @abstractmethod
    def __len__(self) -> int:
        """Batches in a pass over the training part."""

    @property
    @abstractmethod
    def elements(self) -> int:
        """Positions are below this."""

    @abstractmethod
    def at(self, step: int) -> Batch:
        """The batch of training step `step` = 0, 1, ...; a pure function of it."""
