"""Layers of cells: what recurrent networks, captioners and encoder-decoders share.

Shapes: T time, B batch, D width of the input, H hidden, L layers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.cells.cell import Cell, State
from pipeline.recurrence import engines
from pipeline.recurrence.dropout import Dropout, WeightDrop


class Stack(nn.Module):
    """h^l_t = cell(h^{l-1}_t, h^l_{t-1}) for l = 1..L, h^0_t = x_t.

    cell     (D, H) -> a cell of pipeline.cells
    inputs   D of the first layer; x_t may be symbols 0..D too, D read as a zero input
    layers   L >= 1
    hidden   H >= 1
    dropout  probability in [0, 1), on the output of every layer (Zaremba et al. 2014: never on the recurrent product);
             locked_dropout: one mask for all steps of a batch
    weight_drop  probability in [0, 1) of a 0 among the weights of the recurrent products, for a batch
    initial_state, learned_initial_state  every number of the state before the first step is `initial_state`,
             or starts there and is learned by backpropagation to t = 0

    `engine` says how the recurrence is run, one of pipeline.recurrence.engines.ENGINES; it changes rounding and speed
    alone. `run_on` settles it.
    """

    engine = "deferred"
    linear = False  # within `linearizing`
    roles = {"initial": "state"}

    def __init__(
        self,
        cell: Callable[[int, int], Cell],
        inputs: int,
        layers: int,
        hidden: int,
        dropout: float = 0.0,
        initial_state: float = 0.0,
        learned_initial_state: bool = False,
        locked_dropout: bool = False,
        weight_drop: float = 0.0,
    ):
        super().__init__()
        self.width = hidden
        self.cells = nn.ModuleList(cell(inputs if layer == 0 else hidden, hidden) for layer in range(layers))
        self.dropout = Dropout(dropout, locked_dropout)
        self.weight_drop = WeightDrop(weight_drop)
        self.initial_state = initial_state
        self.initial = nn.ParameterList(torch.empty(layers, width) for width in self.cells[0].state.values())
        self.initial.requires_grad_(learned_initial_state)
        self._fill_initial()

    def start(self, batch: int) -> State:
        """The state before the first step, each part [L, B, width]."""
        return tuple(part.unsqueeze(1).expand(-1, batch, -1) for part in self.initial)

    def forward(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        """Inputs [T, B, D] or symbols [T, B], and the state before them
        -> what each layer gives, [T, B, H] after dropout, and the state after."""
        outputs, after = [], []
        for cell, *before in zip(self.cells, *state, strict=True):
            weights = self.weight_drop(cell.recurrent)
            x, end = engines.run(cell, x, tuple(before), self.engine, self.linear, weights)
            after.append(end)
            x = self.dropout(x)
            outputs.append(x)
        return outputs, tuple(map(torch.stack, zip(*after)))

    def memory_cells(self, x: Tensor, state: State) -> list[dict[str, Tensor]]:
        """pipeline.recurrence.engines.memory_cells of each layer."""
        found = []
        for cell, *before in zip(self.cells, *state, strict=True):
            found.append(engines.memory_cells(cell, x, tuple(before)))
            x = self.dropout(engines.run(cell, x, tuple(before), self.engine)[0])
        return found

    def run_on(self, device: str, engine: str = "auto", operations: float = 0.0, seconds: float | None = None) -> None:
        """Settles `engine`: pipeline.recurrence.engines.choose_engine."""
        self.engine = engines.choose_engine(engine, self.cells, device, operations, seconds)

    def finish_initialization(self) -> None:
        """What no draw changes: the initial state, and what the cells' papers set, such as a forget bias."""
        for cell in self.cells:
            cell.finish_initialization()
        self._fill_initial()

    def _fill_initial(self) -> None:
        for part in self.initial:
            nn.init.constant_(part, self.initial_state)


@contextmanager
def linearizing(network: nn.Module) -> Iterator[None]:
    """Lets every Stack of `network` be run for products with its Jacobian: pipeline.recurrence.linearized."""
    stacks = [module for module in network.modules() if isinstance(module, Stack)]
    try:
        for stack in stacks:
            stack.linear = True
        yield
    finally:
        for stack in stacks:
            stack.linear = False
