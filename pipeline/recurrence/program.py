"""The steps of a cell as something that runs by itself, forward and backward, in memory of its own.

Shapes: T time, B batch, R rows and C columns of a product.
"""

import torch
from torch import Tensor
from torch.fx import Node

from pipeline.cells.cell import Cell
from pipeline.cells.matrices import Matrix
from pipeline.recurrence.step import Step


class Program:
    """Up to `capacity` steps of a cell, and what they read and write, which is kept from one pass to the next.

    states      [capacity + 1, B, width] each, before and after every step
    xs, constants  what `step` is given: [capacity, B, R] and [B, ...]
    operands, d_results  of each product, [capacity, B, C] and [capacity, B, R]: they make its matrix's gradient
    d_operands, d_constants, d_xs  gradients of one step, sums over steps, and of each step
    d_states    [2, B, width] each: gradients of the states after step t in [t % 2], before it in the other
    """

    def __init__(self, step: Step, cell: Cell, capacity: int, batch: int):
        self.step, self.capacity, self.batch = step, capacity, batch
        example = step.inputs["state", 0].meta["val"]
        self.new = {"dtype": example.dtype, "device": example.device}
        names, states = step.names, range(len(cell.state))
        self.states = [self._buffer(capacity + 1, step.inputs["state", j]) for j in states]
        self.xs = {
            name: self._buffer(capacity, node)
            for (kind, name), node in step.inputs.items()
            if kind == "x" and node.users
        }
        self.constants = {
            name: self._buffer(node) for (kind, name), node in step.inputs.items() if kind == "constant" and node.users
        }
        self.d_results = {name: self._buffer(capacity, step.inputs["result", name]) for name in names}
        self.d_operands = {name: self._buffer(step.inputs["d operand", name]) for name in names}
        self.d_xs = {name: torch.zeros_like(buffer) for name, buffer in self.xs.items()}
        self.d_constants = {name: torch.zeros_like(buffer) for name, buffer in self.constants.items()}
        self.d_states = [self._buffer(2, step.inputs["state", j]) for j in states]
        self.operands = {}
        for name in names:
            index = next((j for j in states if step.outputs["operand", name] is step.inputs["state", j]), None)
            self.operands[name] = (
                self._buffer(capacity, step.inputs["d operand", name]) if index is None else self.states[index]
            )

    def forward(
        self, cell: Cell, weights: dict[str, Tensor], steps: int, added: dict[str, Tensor], inputs: Tensor
    ) -> None:
        """Runs `steps` steps from states[.][0].

        weights, added  product -> its matrix, and what is added to its results [T, B, R], where anything is
        inputs          of the cell, [T, B, D] or symbols [T, B]: they choose matrices
        """
        raise NotImplementedError

    def backward(
        self,
        cell: Cell,
        weights: dict[str, Tensor],
        steps: int,
        d_outputs: Tensor,
        d_states: tuple[Tensor | None, ...],
        inputs: Tensor,
    ) -> None:
        """Runs backward from the gradients of the outputs and of the states after, None for zeros."""
        raise NotImplementedError

    def gradients(
        self, matrix: Matrix, gradient: Tensor, operand: Tensor, inputs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """After a backward pass, from a product's d_results and operands: pipeline.cells.matrices.Matrix.gradients."""
        return matrix.gradients(gradient, operand, inputs)

    def is_state(self, name: str) -> bool:
        """Whether a product's operand is a state as it was before the step."""
        return any(self.operands[name] is state for state in self.states)

    def enter_backward(self, steps: int, d_states: tuple[Tensor | None, ...]) -> None:
        """Takes the gradients of the states after the last step, None for zeros; no sum has begun."""
        for total in self.d_constants.values():
            total.zero_()
        for buffer, gradient in zip(self.d_states, d_states, strict=True):
            last = buffer[(steps - 1) % 2]
            last.zero_() if gradient is None else last.copy_(gradient)

    def _buffer(self, *shape: int | Node) -> Tensor:
        sizes = [
            size
            for part in shape
            for size in ([part] if isinstance(part, int) else [self.batch, *part.meta["val"].shape[1:]])
        ]
        return torch.zeros(sizes, **self.new)
