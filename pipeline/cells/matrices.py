"""How products with a cell's matrices are computed, and the gradients of the matrices: one matrix for all inputs, or
one that the input chooses.

Shapes: T time, B batch, D input, R rows and C columns of a product, N = T B.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.cells import products

if TYPE_CHECKING:
    from pipeline.cells.cell import Cell, Product


class Matrix:
    """r = W a, [B, C] -> [B, R], W [R, C] the same for all inputs.

    Methods take a step's inputs x too, [B, D] or symbols [B], for those that are chosen by them.
    """

    def __init__(self, weight: Tensor):
        self.weight = weight

    def plus(self, added: Tensor, operand: Tensor, x: Tensor) -> Tensor:
        """added + W a."""
        return torch.addmm(added, operand, self.weight.t())

    def plus_all(self, added: Tensor, operands: Tensor, x: Tensor) -> Tensor:
        """added + W a for all steps, [T, B, R] + [T, B, C] -> [T, B, R]."""
        return products.product(operands.flatten(0, 1), self.weight).view(added.shape).add_(added)

    def ready(self, batch: int) -> Callable[[Tensor, Tensor], Tensor]:
        """(a, x) -> W a, for many steps."""
        multiply = products.ready(self.weight, batch)
        return lambda operand, x: multiply(operand)

    def gradients(self, gradient: Tensor, operand: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The weight's, sum of gradient a^T over all steps and sequences, from [T, B, R], [T, B, C] and the inputs of
        all steps; and the inputs', where the product depends on them."""
        return products.product(gradient.flatten(0, 1).t(), operand.flatten(0, 1).t()), None


class ChosenMatrix(Matrix):
    """r = sum_d x_d W_d a, W [D, R, C]; a symbol d chooses W_d, an unknown one 0."""

    def plus(self, added: Tensor, operand: Tensor, x: Tensor) -> Tensor:
        return added + self._multiply(operand, x)

    def plus_all(self, added: Tensor, operands: Tensor, x: Tensor) -> Tensor:
        return torch.stack([self.plus(*step) for step in zip(added, operands, x)])

    def ready(self, batch: int) -> Callable[[Tensor, Tensor], Tensor]:
        return self._multiply

    def gradients(self, gradient: Tensor, operand: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        inputs, gradient, operand = (part.flatten(0, 1) for part in (x, gradient, operand))
        if inputs.is_floating_point():
            by_input = torch.einsum("ni,dij,nj->nd", gradient, self.weight, operand)
            return torch.einsum("nd,ni,nj->dij", inputs, gradient, operand), by_input.view_as(x)
        order, counts = inputs.argsort(stable=True), torch.bincount(inputs, minlength=len(self.weight) + 1).tolist()
        # Without the last ones, those of unknown symbols.
        parts = list(zip(gradient[order].split(counts), operand[order].split(counts)))[:-1]
        return torch.stack([one.t() @ other for one, other in parts]), None

    def _multiply(self, operand: Tensor, x: Tensor) -> Tensor:
        if x.is_floating_point():
            return torch.einsum("bd,dij,bj->bi", x, self.weight, operand)
        known = len(self.weight)
        chosen = torch.bmm(self.weight[x.clamp(max=known - 1)], operand.unsqueeze(-1)).squeeze(-1)
        return torch.where((x < known).unsqueeze(-1), chosen, 0.0)


def matrices(cell: "Cell", weights: dict[str, Tensor]) -> dict[str, Matrix]:
    """The matrices of a cell's products, of these weights or their transposes."""
    return {name: (ChosenMatrix if name in cell.chosen else Matrix)(weight) for name, weight in weights.items()}


def product_plus(of: dict[str, Matrix], added: dict[str, Tensor], x: Tensor) -> "Product":
    """The products of one step, each with what is added to it [B, R]: what `Cell.step` is given."""
    return functools.partial(_plus, of, added, x)


def _plus(of: dict[str, Matrix], added: dict[str, Tensor], x: Tensor, name: str, operand: Tensor) -> Tensor:
    return of[name].plus(added[name], operand, x)
