"""Stacked recurrent network with a linear readout.

Shapes: T time, B batch, V vocabulary, D width of the input, H hidden, L layers.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.cells.cell import Cell
from pipeline.cells.products import linear
from pipeline.command.refusal import Refusal
from pipeline.datasets.space import Reals, Symbols
from pipeline.models.model import SequenceModel, State
from pipeline.models.stepping import Stepper
from pipeline.recurrence import engines


class RecurrentNetwork(SequenceModel):
    """h^l_t = cell(h^{l-1}_t, h^l_{t-1}) for l = 1..L, h^0_t = x_t, a symbol as one-hot or embedding;
    prediction_{t+1} = Why h^L_t + by: logits of the next symbol, or the mean of the next values.

    space      of the sequences; the symbol V, "unknown", is read as a zero input
    cell       (D, H) -> a cell of pipeline.cells
    layers     L >= 1
    hidden     H >= 1
    embedding  D of a learned embedding of symbols, or None: one-hot input, D = V
    dropout    probability in [0, 1), on the output of every layer (Zaremba et al. 2014: never on the recurrent product)
    skip_connections  the readout sees the outputs of all layers, [h^1_t .. h^L_t], instead of the last one's
                      (Graves 2013)
    initial_state, learned_initial_state  every number of the state before the first symbol is `initial_state`,
                      or starts there and is learned by backpropagation to t = 0
    `engine` says how the recurrence is run, one of pipeline.recurrence.engines.ENGINES;
    it changes rounding and speed alone.
    """

    engine = "deferred"

    def __init__(
        self,
        space: Symbols | Reals,
        cell: Callable[[int, int], Cell],
        layers: int,
        hidden: int,
        embedding: int | None,
        dropout: float,
        skip_connections: bool,
        initial_state: float,
        learned_initial_state: bool,
    ):
        super().__init__()
        if embedding is not None and isinstance(space, Reals):
            raise Refusal(
                f"model.embedding={embedding}: symbols are embedded, real values are read as they are: take null"
            )
        inputs, outputs = (
            (space.count, space.count)
            if isinstance(space, Symbols)
            else (space.observed + space.driving, space.observed)
        )
        self.symbols, self.skip_connections = space.count if isinstance(space, Symbols) else None, skip_connections
        self.embedding = None if embedding is None else nn.Embedding(inputs, embedding)
        self.cells = nn.ModuleList(
            cell((embedding or inputs) if layer == 0 else hidden, hidden) for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(hidden * (layers if skip_connections else 1), outputs)
        self.initial_state = initial_state
        self.initial = nn.ParameterList(torch.empty(layers, width) for width in self.cells[0].state.values())
        self.initial.requires_grad_(learned_initial_state)
        for part in self.initial:
            nn.init.constant_(part, initial_state)

    def start(self, batch: int) -> State:
        """The state before the first symbol, each part [L, B, width]."""
        return tuple(part.unsqueeze(1).expand(-1, batch, -1) for part in self.initial)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Symbols [T, B] or values [T, B, D + U], and the state before them
        -> predictions of each next one, and the state after."""
        x = self.read(x)
        outputs, after = [], []
        for cell, *before in zip(self.cells, *state, strict=True):
            x, end = engines.run(cell, x, tuple(before), self.engine)
            after.append(end)
            x = self.dropout(x)
            outputs.append(x)
        seen = torch.cat(outputs, dim=-1) if self.skip_connections else x
        return linear(seen, self.readout.weight, self.readout.bias), tuple(map(torch.stack, zip(*after)))

    def read(self, x: Tensor) -> Tensor:
        """What the first layer reads: values, symbols where input is one-hot, or their embeddings."""
        return x if self.embedding is None else linear(x, self.embedding.weight.t())

    def stepper(self, state: State) -> Stepper:
        return Stepper(self, state)

    def finish_initialization(self) -> None:
        """What no draw changes: the initial state, and what the cells' papers set, such as a forget bias."""
        for cell in self.cells:
            cell.finish_initialization()
        for part in self.initial:
            nn.init.constant_(part, self.initial_state)
