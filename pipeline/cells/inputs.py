"""What the steps of a cell are given, computed for all of them at once.

Shapes: T time, B batch, D input, R rows of a projection or of a product.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.cells.matrices import matrices, product_plus

if TYPE_CHECKING:
    from pipeline.cells.cell import Cell, Product


def projections(cell: "Cell", x: Tensor) -> dict[str, Tensor]:
    """A cell's projections of the inputs [T, B, D] or symbols [T, B], and with them, or alone, the biases of its
    products, [T, B, R] each. Where there are fewer kinds of symbols than symbols, each kind is projected once."""
    if x.is_floating_point() or x.numel() <= cell.inputs + 1:
        found = dict(cell.project(x))
        for name, bias in cell.recurrent_bias.items():
            found[name] = found[name] + bias if name in found else bias.expand(*x.shape[:2], -1)
        return found
    every = projections(cell, torch.arange(cell.inputs + 1, device=x.device)[:, None])
    return {name: F.embedding(x, part.squeeze(1)) for name, part in every.items()}


def addends(cell: "Cell", x: Tensor) -> dict[str, Tensor]:
    """The projections, and zeros where a product has nothing added."""
    found = projections(cell, x)
    return found | {
        name: cell.input_weight.new_zeros(rows).expand(*x.shape[:2], -1)
        for name, (rows, _) in cell.products.items()
        if name not in found
    }


def by_step(cell: "Cell", x: Tensor, recurrent: dict[str, Tensor]) -> "Iterator[tuple[dict[str, Tensor], Product]]":
    """What each step of the inputs [T, B, D] or symbols [T, B] is given beside the state, `Cell.step`'s x and product.

    recurrent  the matrices of the products
    """
    parts = {name: part.unbind(0) for name, part in addends(cell, x).items()}
    constants, of = cell.constants(x.shape[1]), matrices(cell, recurrent)
    for t, x_t in enumerate(x.unbind(0)):
        given = {name: part[t] for name, part in parts.items()}
        yield given | constants, product_plus(of, given, x_t)
