"""What every recurrent cell states: its equations, and nothing of how they are computed or run through time. That is
pipeline.recurrence.

Shapes: T time, B batch, D input, H hidden, R rows and C columns of a product.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cells.inputs import by_step
from pipeline.cells.products import linear

State = tuple[Tensor, ...]
Product = Callable[[str, Tensor], Tensor]


class Cell(nn.Module):
    """state_t = step(x_t, state_{t-1}), in terms of projections of the input and products with the state.

    A projection is W x_t + b: it needs no state, so all time steps are projected at once. A product is W a_t, a_t a
    function of the state; where it has a projection's name the projection is added to it.
    `step` alternates products and pointwise functions.

    inputs       D, or V where symbols are given
    hidden       H
    projections  name -> R;  unbiased: those among them without b
    products     name -> (R, C);  chosen: those among them whose matrix the input chooses, W = sum_d x_td W_d
    state        name -> width; the first one is the output h
    recurrent_bias  every product has a bias too, as in char-rnn and PyTorch

    Parameters: input_weight [sum R, D], input_bias [sum R of the biased], recurrent.<name> [R, C], of the chosen ones
    [D, R, C], recurrent_bias.<name> [R]; all start uniform in +-1/sqrt(H), as PyTorch's do.
    """

    # The role of each parameter for initializations: "input", "recurrent", "bias" or "peephole".
    roles: dict[str, str] = {
        "input_weight": "input",
        "input_bias": "bias",
        "recurrent": "recurrent",
        "recurrent_bias": "bias",
    }

    def __init__(
        self,
        inputs: int,
        hidden: int,
        projections: dict[str, int],
        products: dict[str, tuple[int, int]],
        state: dict[str, int],
        recurrent_bias: bool = False,
        unbiased: tuple[str, ...] = (),
        chosen: tuple[str, ...] = (),
    ):
        super().__init__()
        self.inputs, self.hidden, self.state = inputs, hidden, state
        # The biased ones first.
        self.projections = dict(sorted(projections.items(), key=lambda item: item[0] in unbiased))
        self.products, self.chosen = products, chosen
        self.input_weight = nn.Parameter(torch.empty(sum(projections.values()), inputs))
        self.input_bias = nn.Parameter(
            torch.empty(sum(rows for name, rows in projections.items() if name not in unbiased))
        )
        self.recurrent = nn.ParameterDict(
            {
                name: nn.Parameter(torch.empty(inputs, *shape) if name in chosen else torch.empty(shape))
                for name, shape in products.items()
            }
        )
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
        if len(self.projections) == 1:
            [name] = self.projections
            return {name: linear(x, self.input_weight, self.input_bias if len(self.input_bias) else None)}
        rows = list(self.projections.values())
        biases = F.pad(self.input_bias, (0, len(self.input_weight) - len(self.input_bias))).split(rows)
        parts = zip(self.projections, self.input_weight.split(rows), biases, strict=True)
        # One by one: cutting their sum would cost a copy of it.
        return {name: linear(x, weight, bias) for name, weight, bias in parts}

    def constants(self, batch: int) -> dict[str, Tensor]:
        """Parameters that a step uses pointwise, expanded over the batch, name -> [B, ...]: a step finds them in x."""
        return {}

    def step(self, x: dict[str, Tensor], state: State, product: Product) -> State:
        """One time step: projections [B, R] and constants, state [B, width] each,
        `product(name, operand)`, once for each name -> the next state.

        A function of these alone: parameters are read in `project`, `constants` and products, and other attributes
        never change once the cell is made.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, state: State | None = None) -> State:
        """state_t of one step: a cell is a module as torch.nn.LSTMCell is. Many steps, fast: pipeline.recurrence.stack.

        x      x_t, numbers [B, D] or symbols [B] in 0..D (D: unknown, a zero input)
        state  state_{t-1}, [B, width] each in the order of `self.state`; None: zeros
        Returns state_t in the same form, the output h first. Raises ValueError for other shapes.
        """
        if x.shape[1:] != ((self.inputs,) if x.is_floating_point() else ()):
            wanted = f"numbers [B, {self.inputs}] or symbols [B]"
            raise ValueError(f"x of {x.dtype}, {list(x.shape)}: {type(self).__name__} reads {wanted}")
        widths = list(self.state.values())
        if state is None:
            state = tuple(self.input_weight.new_zeros(len(x), width) for width in widths)
        if [part.shape for part in state] != [(len(x), width) for width in widths]:
            found, wanted = [list(part.shape) for part in state], [[len(x), width] for width in widths]
            raise ValueError(f"state of {found}: the state of {type(self).__name__} is {wanted}")
        [(given, product)] = by_step(self, x[None], dict(self.recurrent))
        return self.step(given, state, product)

    def gate_values(self, x: dict[str, Tensor], state: State, product: Product) -> dict[str, Tensor]:
        """Of a cell whose state has a memory cell c, in 0..1, [B, H] each: "i", with which something is written to it
        in this step, "f", with which it is kept, and "o", with which it is read; those that there are. Given what
        `step` is given. Nothing here."""
        return {}
