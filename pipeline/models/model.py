"""What every model of sequences offers, so that all are trained, judged, sampled and compared in one way."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.datasets.batch import Batch, Batches
from pipeline.datasets.data import Data
from pipeline.datasets.space import Reals, Space, Symbols


class SequenceModel(nn.Module):
    """(x_t, state) -> prediction of what is asked at step t. Made from what it reads, answers and is given:
    pipeline.datasets.space.

    What every step needs of what is given is a part of the state.
    learned_by      the learning rules that can find its parameters: "gradient", "hessian_free", "em", "ridge", "count"
    roles           the role of each parameter for initializations, by its name within this module or that of what holds
                    it: "input", "recurrent", "output", "embedding", "peephole", "bias", or "state" for what no draw
                    changes
    Shapes: T time, B batch, L layers (1 where a model has none), D and O widths of what is read and answered.
    """

    learned_by: tuple[str, ...] = ("gradient", "hessian_free")
    roles: dict[str, str] = {}
    discrete_states: int | None = None  # N, where the state is one of N
    restart: int | None = None  # elements after which its state starts anew, in training and where it is judged

    def __init__(self, reads: Space, answers: Space, given: tuple[Space, ...] = ()):
        super().__init__()
        self.reads, self.answers, self.given = reads, answers, given

    @classmethod
    def fits(cls, data: Data) -> str | None:
        """Why the model cannot be had on these data, in a line that ends with what to take instead; None where it
        can."""
        if any(isinstance(space, Symbols) for space in data.given):
            return "reads nothing beside the sequence: take model=encoder_decoder"
        return "reads nothing beside the sequence: take model=lstm or another recurrent network" if data.given else None

    @property
    def dtype(self) -> torch.dtype:
        """Of its parameters."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def start(self, batch: int, *given: Tensor) -> State:
        """The state before the first element, each part [L, B, ...]; given [B, ...] each."""
        raise NotImplementedError

    def start_of(self, batch: Batch) -> State:
        """The state before a batch with which its sequences start."""
        return self.start(batch.inputs.shape[1], *batch.given)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Elements of T steps and the state before them -> predictions [T, B, O] and the state after."""
        raise NotImplementedError

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, State]:
        """The sum of the losses of what is asked, and the state after the batch."""
        z, state = self(batch.inputs, state)
        return self.answers.loss(z, batch.targets), state

    @property
    def has_activities(self) -> bool:
        """Whether it has hidden units to show: `activities`."""
        return type(self).activities is not SequenceModel.activities

    def activities(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        """The hidden units at each step, [T, B, H] a layer, and the state after: for probes and structural damping."""
        raise NotImplementedError(f"{type(self).__name__} has no hidden units")

    def observe(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        """Predictions, activities and the state after, where a model has both in one pass."""
        z, after = self(x, state)
        return z, self.activities(x, state)[0], after

    def memory_cells(self, x: Tensor, state: State) -> list[dict[str, Tensor]]:
        """What becomes of memory cells, a layer each, [T, B, H] by name: the gates "i" that write, "f" that keep and
        "o" that read, those that there are, and after each step the content "c" and the output "h". Nothing of a model
        without."""
        return []

    def stepper(self, state: State) -> Callable[[int], Tensor]:
        """A function that reads one symbol at a time, batch 1, from this state on, and returns its prediction [O]."""

        def step(symbol: int) -> Tensor:
            nonlocal state
            z, state = self(torch.tensor([[symbol]], device=state[0].device), state)
            return z[0, 0]

        return step

    def run_on(self, device: str, engine: str = "auto", operations: float = 0.0, seconds: float | None = None) -> str:
        """Settles how the model is run on "cpu" or "cuda", and says it in a few words, or in none.

        engine      one of those that the model has, or "auto"
        operations  floating-point operations that the whole training will take;  seconds  its budget, if it has one
        Nothing to settle here. Raises Refusal for an engine that the model does not have.
        """
        return ""

    @property
    def seldom_used(self) -> bool:
        """Whether a parameter takes part in some batches only, those where sequences start."""
        return False

    def parameters_by_role(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(role, parameter) of all that are learned by gradient and drawn at first, in the order of
        `named_parameters`."""
        for name, parameter in self.named_parameters():
            role = self._role(name) if parameter.requires_grad else "state"
            if role != "state":
                yield role, parameter

    def _role(self, name: str) -> str:
        """As the innermost module says that knows; a linear map's bias is one, whatever the map is for."""
        module, found, parts = self, None, name.split(".")
        for part in parts:
            found = getattr(module, "roles", {}).get(part, found)
            if part == "bias" and isinstance(module, nn.Linear | nn.Conv2d):
                found = "bias"
            module = getattr(module, part, None) if isinstance(module, nn.Module) else None
        if found is None:
            raise TypeError(
                f"{type(self).__name__} does not say the role of its parameter {name}: see SequenceModel.roles"
            )
        return found

    def finish_initialization(self) -> None:
        """What no draw of an initialization changes. Nothing here."""

    def look_at(self, data: Data) -> None:
        """Takes what the model is to know of the training part before it learns. Nothing here."""

    def count_parameters(self) -> int:
        """Numbers that learning sets."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


class StatisticsModel(SequenceModel):
    """A model learned in passes, from sums over the data (pipeline.learning.statistics); no parameter asks for a
    gradient."""

    learned_by: tuple[str, ...] = ()

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        """float64 zeros for the sums over a training part whose positions are below `elements`."""
        raise NotImplementedError

    def check(self, batches: Batches) -> None:
        """Raises Refusal, before any is read, where nothing can be learned from these batches. Nothing here."""

    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        """Adds a batch's share to the sums -> the state after it, and the loss over its targets under the present
        parameters."""
        raise NotImplementedError

    def update(self, statistics: dict[str, Tensor]) -> None:
        """Sets the parameters from the sums of one pass over the data."""
        raise NotImplementedError

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def reads_and_foretells(data: Data, kind: type[Symbols] | type[Reals]) -> bool:
    """Whether the next one is to be predicted of elements of this kind."""
    return data.foretells and isinstance(data.reads, kind) and isinstance(data.answers, kind)
