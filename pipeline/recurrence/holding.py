"""Cells that keep their state where their sequence has ended, so that what fills a batch up changes nothing."""

import torch
from torch import Tensor, nn

from pipeline.cells.cell import Cell, Product, State


class Holding(nn.Module):
    """state_t = step(x_t, state_{t-1}) while left_{t-1} > 0, then state_{t-1}; left_t = left_{t-1} - 1. A cell, and at
    the end of its state one part more: how many steps are left to read, the same number H times, [B, H].

    What is read after a sequence's end is to be finite. The widths of the state are to be multiples of H.
    """

    def __init__(self, cell: Cell):
        super().__init__()
        self.cell, self.state = cell, cell.state | {"left": cell.hidden}

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("cell"), name)

    forward = Cell.forward

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        *before, left = state
        reading = torch.relu(left.detach()) - torch.relu(left.detach() - 1)  # 1 or 0
        after = []
        for new, old in zip(self.cell.step(x, tuple(before), product), before, strict=True):
            times = new.shape[-1] // reading.shape[-1]
            one = reading if times == 1 else torch.cat([reading] * times, -1)
            after.append(one * new + (1 - one) * old)
        return *after, left - 1
