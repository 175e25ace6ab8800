"""The three best architectures that Jozefowicz, Zaremba & Sutskever (2015) found by mutation.

In these formulas a bare x is an input of size H. Where D differs from H it is projected:
x stands for P x_t, P of shape [H, D].
"""

import torch
from torch import Tensor, nn

from pipeline.cells.cell import Cell, Product, State
from pipeline.cells.products import linear


class _Mutation(Cell):
    """What the three have in common: `bare`, the input that their formulas write as x,
    projected where D differs from H."""

    roles = Cell.roles | {"bare_weight": "input", "candidate_bias": "bias", "reset_bias": "bias"}

    def __init__(
        self,
        inputs: int,
        hidden: int,
        projections: dict[str, int],
        products: dict[str, tuple[int, int]],
        recurrent_bias: bool,
    ):
        super().__init__(inputs, hidden, projections, products, {"h": hidden}, recurrent_bias)
        self.bare_weight = nn.Parameter(torch.empty(hidden, inputs)) if inputs != hidden else None

    def bare(self, x: Tensor) -> Tensor:
        """[T, B, D] or symbols [T, B] -> [T, B, H]."""
        if self.bare_weight is not None:
            return linear(x, self.bare_weight)
        return (
            x
            if x.is_floating_point()
            else torch.eye(self.inputs + 1, self.inputs, dtype=self.input_weight.dtype, device=x.device)[x]
        )


class MUT1(_Mutation):
    """z = s(Wxz x + bz), r = s(Wxr x + Whr h + br), h_t = tanh(Whh (r h) + tanh(x) + bh) z + h (1 - z).

    2 H (D + H) + 3 H parameters, and H D of P where D differs from H.
    """

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        super().__init__(
            inputs, hidden, {"z": hidden, "r": hidden}, {"r": (hidden, hidden), "h": (hidden, hidden)}, recurrent_bias
        )
        self.candidate_bias = nn.Parameter(torch.empty(hidden))
        self.reset_parameters()

    def project(self, x: Tensor) -> dict[str, Tensor]:
        return super().project(x) | {"h": torch.tanh(self.bare(x)) + self.candidate_bias}

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        r = torch.sigmoid(product("r", h))
        return (torch.lerp(h, torch.tanh(product("h", r * h)), torch.sigmoid(x["z"])),)


class MUT2(_Mutation):
    """z = s(Wxz x + Whz h + bz), r = s(x + Whr h + br), h_t = tanh(Whh (r h) + Wxh x + bh) z + h (1 - z).

    2 H D + 3 H^2 + 3 H parameters, and H D of P where D differs from H.
    """

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        super().__init__(
            inputs,
            hidden,
            {"z": hidden, "h": hidden},
            {"zr": (2 * hidden, hidden), "h": (hidden, hidden)},
            recurrent_bias,
        )
        self.reset_bias = nn.Parameter(torch.empty(hidden))
        self.reset_parameters()

    def project(self, x: Tensor) -> dict[str, Tensor]:
        projected = super().project(x)
        return {"h": projected["h"], "zr": torch.cat([projected["z"], self.bare(x) + self.reset_bias], dim=-1)}

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        z, r = torch.sigmoid(product("zr", h)).chunk(2, dim=-1)
        return (torch.lerp(h, torch.tanh(product("h", r * h)), z),)


class MUT3(Cell):
    """z = s(Wxz x + Whz tanh(h) + bz), r = s(Wxr x + Whr h + br), h_t = tanh(Whh (r h) + Wxh x + bh) z + h (1 - z).

    3 H (D + H + 1) parameters.
    """

    def __init__(self, inputs: int, hidden: int, recurrent_bias: bool = False):
        square = (hidden, hidden)
        super().__init__(
            inputs,
            hidden,
            {"z": hidden, "r": hidden, "h": hidden},
            {"z": square, "r": square, "h": square},
            {"h": hidden},
            recurrent_bias,
        )
        self.reset_parameters()

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        (h,) = state
        z = torch.sigmoid(product("z", torch.tanh(h)))
        r = torch.sigmoid(product("r", h))
        return (torch.lerp(h, torch.tanh(product("h", r * h)), z),)
