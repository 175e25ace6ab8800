"""What decoding needs of a network, whatever model it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


class Network(Protocol):
    """(x_t, state) -> prediction, step by step: pipeline.models.model.SequenceModel is one."""

    training: bool
    dtype: torch.dtype
    device: torch.device

    def start(self, batch: int, *given: Tensor) -> tuple[Tensor, ...]:
        """The state before the first element, each part [L, B, ...]."""

    def __call__(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Elements of T steps and the state before them -> predictions [T, B, O] and the state after."""

    def stepper(self, state: tuple[Tensor, ...]) -> Callable[[int], Tensor]:
        """A function that reads one symbol at a time from this state on, and returns its prediction [O]."""

    def train(self, mode: bool = True) -> "Network": ...

    def eval(self) -> "Network": ...


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Evaluation mode, without dropout, and in the end the mode of before, however it ends."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
