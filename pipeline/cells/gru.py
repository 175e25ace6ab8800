"""Gated recurrent units."""

import torch
from torch import Tensor

from pipeline.cells.cell import Cell, Product, State


class GRU(Cell):
    """r, z = s(W x_t + U h_{t-1} + b), h~ = tanh(Wxh x_t + Whh (r h_{t-1}) + b); h_t = z h_{t-1} + (1 - z) h~
    (Cho et al. 2014). 3 H (D + H + 1) parameters."""

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        super().__init__(
            inputs,
            hidden,
            {"gates": 2 * hidden, "candidate": hidden},
            {"gates": (2 * hidden, hidden), "candidate": (hidden, hidden)},
            {"h": hidden},
            recurrent_bias,
        )
        self.reset_parameters()

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        r, z = torch.sigmoid(product("gates", h)).chunk(2, dim=-1)
        candidate = torch.tanh(product("candidate", r * h))
        return (torch.lerp(candidate, h, z),)


class ResetAfterGRU(Cell):
    """r, z = s(W x_t + U h_{t-1} + b + b'), h~ = tanh(Wxh x_t + b + r (Whh h_{t-1} + b')); h_t = z h_{t-1} + (1 - z) h~
    (PyTorch's and cuDNN's form, after Cho et al. 2014). 3 H (D + H + 2) parameters,
    rows in the order r, z, h~ as in PyTorch."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__(
            inputs, hidden, {"input": 3 * hidden}, {"state": (3 * hidden, hidden)}, {"h": hidden}, recurrent_bias=True
        )
        self.reset_parameters()

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        gates_x, candidate_x = x["input"].split((2 * self.hidden, self.hidden), dim=-1)
        gates_h, candidate_h = product("state", h).split((2 * self.hidden, self.hidden), dim=-1)
        r, z = torch.sigmoid(gates_x + gates_h).chunk(2, dim=-1)
        candidate = torch.tanh(torch.addcmul(candidate_x, r, candidate_h))
        return (torch.lerp(candidate, h, z),)
