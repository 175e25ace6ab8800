"""Vanilla recurrent networks."""

import torch
from torch import Tensor, nn

from pipeline.cells.cell import Cell, Product, State
from pipeline.command.setting import Weight


class TanhRNN(Cell):
    """h_t = tanh(Wxh x_t + Whh h_{t-1} + b)  (Elman 1990). H (D + H + 1) parameters."""

    activation = staticmethod(torch.tanh)

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        super().__init__(inputs, hidden, {"h": hidden}, {"h": (hidden, hidden)}, {"h": hidden}, recurrent_bias)
        self.reset_parameters()

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        return (self.activation(product("h", h)),)


class SigmoidRNN(TanhRNN):
    """h_t = s(Wxh x_t + Whh h_{t-1} + b)."""

    activation = staticmethod(torch.sigmoid)


class ReluRNN(TanhRNN):
    """h_t = max(0, Wxh x_t + Whh h_{t-1} + b), Whh `identity` times the identity and b zero at first
    (IRNN, Le, Jaitly & Hinton 2015).

    identity  1 keeps what it has seen for ever and explodes at high learning rates; smaller for shorter memory
              (their section 4.4: 0.01)
    """

    activation = staticmethod(torch.relu)

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False, identity: Weight = 1.0):
        super().__init__(inputs, hidden, recurrent_bias)
        self.identity = identity

    @torch.no_grad()
    def finish_initialization(self) -> None:
        nn.init.eye_(self.recurrent["h"]).mul_(self.identity)
        nn.init.zeros_(self.input_bias)


class DirectRNN(Cell):
    """h_t = max(0, x_t + U h_{t-1} + b), D = H: what is read is added as it is (Mao et al. 2015, eq. 2).
    H (H + 1) parameters.

    Raises ValueError where D is not H.
    """

    def __init__(self, inputs: int, hidden: int):
        if inputs != hidden:
            raise ValueError(f"what is read, {inputs} numbers, is to be as wide as the layer, {hidden}")
        super().__init__(inputs, hidden, {}, {"h": (hidden, hidden)}, {"h": hidden}, recurrent_bias=True)
        self.reset_parameters()

    def project(self, x: Tensor) -> dict[str, Tensor]:
        return {"h": x}

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        return (torch.relu(product("h", h)),)
