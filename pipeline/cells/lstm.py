"""Long short-term memory."""

import torch
from torch import Tensor

from pipeline.cells.cell import Cell, Product, State
from pipeline.command.setting import Weight


class LSTM(Cell):
    """i, f, o = s(W x_t + U h_{t-1} + b), g = tanh(W x_t + U h_{t-1} + b); c_t = f c_{t-1} + i g, h_t = o tanh(c_t)
    (Hochreiter & Schmidhuber 1997; Gers et al. 2000). 4 H (D + H + 1) parameters,
    rows in the order i, f, g, o as in PyTorch.

    forget_bias  added to f's bias at first (Jozefowicz et al. 2015: 1)
    """

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False, forget_bias: Weight = 0.0):
        super().__init__(
            inputs,
            hidden,
            {"gates": 4 * hidden},
            {"gates": (4 * hidden, hidden)},
            {"h": hidden, "c": hidden},
            recurrent_bias,
        )
        self.forget_bias = forget_bias
        self.reset_parameters()

    @torch.no_grad()
    def finish_initialization(self) -> None:
        self.input_bias[self.hidden : 2 * self.hidden] += self.forget_bias

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        h, c = state
        write_keep, g, o = product("gates", h).split((2 * self.hidden, self.hidden, self.hidden), dim=-1)
        i, f = torch.sigmoid(write_keep).chunk(2, dim=-1)
        c = f * c + i * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
