"""What every recurrent cell states, and nothing of how time is run through: that is pipeline.recurrence.

Shapes: T time, B batch, D input, H hidden, R rows and C columns of a product.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cells.products import linear, product, ready

Product = Callable[[str, Tensor], Tensor]


class Cell(nn.Module):
    """state_t = step(x_t, state_{t-1}), in terms of projections of the input and products with the state.

    A projection is W x_t + b: it needs no state, so all time steps are projected at once. A product is W a_t, a_t a
    function of the state; where it has a projection's name the projection is added to it.
    `step` alternates products and pointwise functions.

    inputs       D, or V where symbols are given
    hidden       H
    projections  name -> R;  unbiased: those among them without b
    products     name -> (R, C)
    state        name -> width; the first one is the output h
    recurrent_bias  every product has a bias too, as in char-rnn and PyTorch

    Parameters: input_weight [sum R, D], input_bias [sum R of the biased], recurrent.<name> [R, C],
    recurrent_bias.<name> [R]; all start uniform in +-1/sqrt(H), as PyTorch's do.
    """

    library: str | None = None  # the torch kernel that computes this cell: "lstm", "gru", "rnn_tanh" or "rnn_relu"
    chosen_by: dict[str, str] = {}  # product with a matrix for each symbol, [D, R, C] -> the name of the symbols in x

    def __init__(
        self,
        inputs: int,
        hidden: int,
        projections: dict[str, int],
        products: dict[str, tuple[int, int]],
        state: dict[str, int],
        recurrent_bias: bool = False,
        unbiased: tuple[str, ...] = (),
    ):
        super().__init__()
        self.inputs, self.hidden, self.state = inputs, hidden, state
        # The biased ones first.
        self.projections = dict(sorted(projections.items(), key=lambda item: item[0] in unbiased))
        self.products = products
        self.input_weight = nn.Parameter(torch.empty(sum(projections.values()), inputs))
        self.input_bias = nn.Parameter(
            torch.empty(sum(rows for name, rows in projections.items() if name not in unbiased))
        )
        self.recurrent = nn.ParameterDict({name: nn.Parameter(torch.empty(shape)) for name, shape in products.items()})
        self.recurrent_bias = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(rows)) for name, (rows, _) in products.items()} if recurrent_bias else {}
        )

    def reset_parameters(self) -> None:
        """Every parameter ~ U(-1/sqrt(H), 1/sqrt(H))."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(self.hidden), 1 / math.sqrt(self.hidden))

    def finish_initialization(self) -> None:
        """What the cell's paper sets after any draw, such as a forget bias. Nothing here."""

    def project(self, x: Tensor) -> dict[str, Tensor]:
        """Inputs of all steps, [T, B, D] or symbols [T, B] in 0..D (D: unknown, a zero input) -> name -> [T, B, R]."""
        rows = list(self.projections.values())
        biases = F.pad(self.input_bias, (0, len(self.input_weight) - len(self.input_bias))).split(rows)
        parts = zip(self.projections, self.input_weight.split(rows), biases, strict=True)
        # One by one: cutting their sum would cost a copy of it.
        return {name: linear(x, weight, bias) for name, weight, bias in parts}

    def constants(self, batch: int) -> dict[str, Tensor]:
        """Parameters that a step uses pointwise, expanded over the batch, name -> [B, ...]: a step finds them in x, and
        sums over the batch stay out of the loop."""
        return {}

    def multiply(self, name: str, weight: Tensor, operand: Tensor, x: dict[str, Tensor]) -> Tensor:
        """What `product(name, operand)` gives a step: the product and what is added to it, x[name]; [B, C] -> [B, R].
        Overridden together with `multiplier`."""
        return torch.addmm(x[name], operand, weight.t())

    def multiplier(self, weight: Tensor, batch: int) -> Callable[[Tensor, dict[str, Tensor]], Tensor]:
        """operand [B, C], x of its step -> weight operand [B, R], for many steps; the weight with its last two
        dimensions exchanged gives the transpose of the same."""
        multiply = ready(weight, batch)
        return lambda operand, x: multiply(operand)

    def product_gradients(
        self, weight: Tensor, gradient: Tensor, operand: Tensor, x: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weight's gradient, sum over all steps and sequences of gradient operand^T, from [T, B, R] and [T, B, C];
        and the gradients of what else of x the product reads."""
        return product(gradient.flatten(0, 1).t(), operand.flatten(0, 1).t()), {}

    def step(self, x: dict[str, Tensor], state: tuple[Tensor, ...], product: Product) -> tuple[Tensor, ...]:
        """One time step: projections [B, R], state [B, width] each,
        `product(name, operand)`, once for each name -> the next state.

        It is recorded once, so attributes that are no tensors are read once; parameters are read in `project`,
        `constants` and products alone.
        """
        raise NotImplementedError
