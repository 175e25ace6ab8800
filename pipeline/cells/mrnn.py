"""The multiplicative RNN, whose input chooses the hidden-to-hidden matrix, and the multiplicative LSTM."""

import torch
from torch import Tensor

from pipeline.cells.cell import Cell, Product, State
from pipeline.command.setting import Count


class MultiplicativeRNN(Cell):
    """f_t = (Wfx x_t) (Wfh h_{t-1}), h_t = tanh(Whf f_t + Whx x_t + b)
    (Sutskever, Martens & Hinton 2011, their equations 7 and 8).

    The matrix that x_t chooses is Whf diag(Wfx x_t) Wfh, of rank at most `factors` (default H).
    F (D + H) + H (F + D + 1) parameters.
    """

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False, factors: Count | None = None):
        factors = factors or hidden
        super().__init__(
            inputs,
            hidden,
            {"h": hidden, "factor": factors},
            {"state": (factors, hidden), "h": (hidden, factors)},
            {"h": hidden},
            recurrent_bias,
            unbiased=("factor",),
        )
        self.reset_parameters()

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        return (torch.tanh(product("h", x["factor"] * product("state", h))),)


class FullMultiplicativeRNN(Cell):
    """h_t = tanh(W(x_t) h_{t-1} + Whx x_t + b), W(x) = sum_d x_d W_d: a matrix of its own for every symbol
    (Sutskever, Martens & Hinton 2011, their equation 5).

    D H^2 + H (D + 1) parameters.
    """

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        super().__init__(
            inputs, hidden, {"h": hidden}, {"h": (hidden, hidden)}, {"h": hidden}, recurrent_bias, chosen=("h",)
        )
        self.reset_parameters()

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        return (torch.tanh(product("h", h)),)


class MultiplicativeLSTM(Cell):
    """m_t = (Wmx x_t) (Wmh h_{t-1}); i, f, o = s(W x_t + U m_t + b), g = tanh(W x_t + U m_t + b);
    c_t = f c_{t-1} + i g, h_t = o tanh(c_t)  (Krause et al. 2016).

    H (D + H) + 4 H (D + H + 1) parameters, rows in the order i, f, o, g.
    """

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        super().__init__(
            inputs,
            hidden,
            {"gates": 4 * hidden, "factor": hidden},
            {"state": (hidden, hidden), "gates": (4 * hidden, hidden)},
            {"h": hidden, "c": hidden},
            recurrent_bias,
            unbiased=("factor",),
        )
        self.reset_parameters()

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        h, c = state
        i, f, o, g = self._sums(x, h, product)
        c = torch.addcmul(f * c, i, torch.tanh(g))
        return o * torch.tanh(c), c

    def gate_values(self, x: dict[str, Tensor], state: State, product: Product) -> dict[str, Tensor]:
        i, f, o, _ = self._sums(x, state[0], product)
        return {"i": i, "f": f, "o": o}

    def _sums(self, x: dict[str, Tensor], h: Tensor, product: Product) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """i, f, o, and what g is a function of."""
        m = x["factor"] * product("state", h)
        gates, g = product("gates", m).split((3 * self.hidden, self.hidden), dim=-1)
        return *torch.sigmoid(gates).chunk(3, dim=-1), g
