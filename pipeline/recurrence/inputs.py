"""What the steps of a cell are given, computed for all of them at once.

Shapes: T time, B batch, D input, R rows of a projection or of a product.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.cells.cell import Cell


def projections(cell: Cell, x: Tensor) -> dict[str, Tensor]:
    """A cell's projections of the inputs [T, B, D] or symbols [T, B], and with them, or alone, the biases of its
    products, [T, B, R] each. Where there are fewer kinds of symbols than symbols, each kind is projected once."""
    if x.is_floating_point() or x.numel() <= cell.inputs + 1:
        found = dict(cell.project(x))
        for name, bias in cell.recurrent_bias.items():
            found[name] = found[name] + bias if name in found else bias.expand(*x.shape[:2], -1)
        return found
    every = projections(cell, torch.arange(cell.inputs + 1, device=x.device)[:, None])
    return {name: F.embedding(x, part.squeeze(1)) for name, part in every.items()}


def addends(cell: Cell, x: Tensor) -> dict[str, Tensor]:
    """The projections, and zeros where a product has nothing added."""
    found = projections(cell, x)
    return found | {
        name: cell.input_weight.new_zeros(rows).expand(*x.shape[:2], -1)
        for name, (rows, _) in cell.products.items()
        if name not in found
    }
