"""What every model of sequences offers, so that all are trained, judged, sampled and compared in one way."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]


class SequenceModel(nn.Module):
    """(x_t, state) -> prediction of x_{t+1}, for the sequences
    that pipeline.datasets.space describes. Learned by gradient.

    Shapes: T time, B batch, L layers (1 where a model has none).
    """

    rule = "gradient"

    @property
    def dtype(self) -> torch.dtype:
        """Of its parameters."""
        return next(self.parameters()).dtype

    def start(self, batch: int) -> State:
        """The state before the first element, each part [L, B, ...]."""
        raise NotImplementedError

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Elements of T steps and the state before them -> predictions,
        [T, B, V] logits or [T, B, D] means, and the state after."""
        raise NotImplementedError

    def stepper(self, state: State) -> Callable[[int], Tensor]:
        """A function that reads one symbol at a time, batch 1,
        from this state on, and returns the next one's logits [V]."""

        def step(symbol: int) -> Tensor:
            nonlocal state
            logits, state = self(torch.tensor([[symbol]], device=state[0].device), state)
            return logits[0, 0]

        return step

    def finish_initialization(self) -> None:
        """What no draw of an initialization changes. Nothing here."""

    def count_parameters(self) -> int:
        """Numbers that learning sets."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


class StatisticsModel(SequenceModel):
    """A model learned in passes, from sums over the data (pipeline.learning.statistics);
    no parameter asks for a gradient."""

    rule: str  # "em", "ridge" or "count", also the name of its choice of `optimizer`

    def zero_statistics(self, length: int) -> dict[str, Tensor]:
        """float64 zeros for the sums over a training part of `length` elements."""
        raise NotImplementedError

    def accumulate(self, statistics: dict[str, Tensor], window, state: State) -> tuple[State, Tensor]:
        """Adds a window's share to the sums -> the state after it,
        and the loss over its targets under the present parameters."""
        raise NotImplementedError

    def update(self, statistics: dict[str, Tensor]) -> None:
        """Sets the parameters from the sums of one pass over the data."""
        raise NotImplementedError

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
