"""Long short-term memory."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from pipeline.cells.cell import Cell, Product, State
from pipeline.command.setting import Weight


class LSTM(Cell):
    """i, f, o = s(W x_t + U h_{t-1} + b), g = tanh(W x_t + U h_{t-1} + b); c_t = f c_{t-1} + i g, h_t = o tanh(c_t)
    (Hochreiter & Schmidhuber 1997; Gers et al. 2000). 4 H (D + H + 1) parameters,
    rows in the order i, f, g, o as in PyTorch.

    forget_bias  added to f's bias at first (Jozefowicz et al. 2015: 1)
    chrono       T, the longest memory wanted, in steps: at first log(u), u ~ U(1, T - 1) for each unit, is added to f's
                 bias and subtracted from i's (Tallec & Ollivier 2018); None: not
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        recurrent_bias: bool = False,
        forget_bias: Weight = 0.0,
        chrono: Annotated[int, Ge(2)] | None = None,
    ):
        super().__init__(
            inputs,
            hidden,
            {"gates": 4 * hidden},
            {"gates": (4 * hidden, hidden)},
            {"h": hidden, "c": hidden},
            recurrent_bias,
        )
        self.forget_bias, self.chrono = forget_bias, chrono
        self.reset_parameters()

    @torch.no_grad()
    def finish_initialization(self) -> None:
        i, f = self.input_bias[: 2 * self.hidden].chunk(2)
        f += self.forget_bias
        if self.chrono is not None:
            kept = torch.empty_like(f).uniform_(1, self.chrono - 1).log_()
            f += kept
            i -= kept

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        h, c = state
        i, f, g, o = self._sums(h, product)
        c = f * c + i * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def gate_values(self, x: dict[str, Tensor], state: State, product: Product) -> dict[str, Tensor]:
        i, f, _, o = self._sums(state[0], product)
        return {"i": i, "f": f, "o": torch.sigmoid(o)}

    def _sums(self, h: Tensor, product: Product) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """i, f, and what g and o are functions of."""
        write_keep, g, o = product("gates", h).split((2 * self.hidden, self.hidden, self.hidden), dim=-1)
        i, f = torch.sigmoid(write_keep).chunk(2, dim=-1)
        return i, f, g, o
