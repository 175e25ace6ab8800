"""Stacked recurrent network with a readout.

Shapes: T time, B batch, V vocabulary, D width of the input, O width of a prediction, H hidden, L layers.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn

from pipeline.cells.cell import Cell, State
from pipeline.cells.products import linear
from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Weight
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import Data
from pipeline.datasets.space import Pixels, Reals, Space, Symbols
from pipeline.models.model import SequenceModel
from pipeline.models.readout import LinearReadout, Readout
from pipeline.recurrence.dropout import SymbolDropout
from pipeline.recurrence.stack import Stack
from pipeline.recurrence.stepping import Stepper


class RecurrentNetwork(SequenceModel):
    """h^l_t = cell(h^{l-1}_t, h^l_{t-1}) for l = 1..L, h^0_t = x_t, a symbol as one-hot or embedding; z_t =
    readout(h^L_t), h^l_{-1} = h0 + sum_k G^l_k given_k.

    reads, answers, given  of the data; symbol V, "unknown", is read as a zero input; what is given are vectors of
                           numbers
    cell       (D, H) -> a cell of pipeline.cells
    layers     L >= 1
    hidden     H >= 1
    embedding  D of a learned embedding of symbols, or None: one-hot input, D = V
    dropout    probability in [0, 1), on the output of every layer (Zaremba et al. 2014: never on the recurrent product)
    locked_dropout, embedding_dropout, weight_drop  further forms of dropout: pipeline.recurrence.dropout
    skip_connections  the readout sees the outputs of all layers, [h^1_t .. h^L_t], instead of the last one's (Graves
                      2013)
    initial_state, learned_initial_state  every number of the state before the first element is `initial_state`, or
                                          starts
               there and is learned by backpropagation to t = 0
    centred    numbers are read less their mean over the training part, and answers that are numbers start at theirs
               (Sutskever et al. 2013), as `look_at` finds them; symbols, and answers with bits, are as without
    readout    (width of what it sees, answers, embedding or None) -> a readout of pipeline.models.readout
    G^l_k [H, width of given_k] start uniform in +-1/sqrt(width).
    """

    roles = {"embedding": "embedding", "initial": "state", "conditions": "input"}

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        cell: Callable[[int, int], Cell],
        layers: Annotated[int, Ge(1), Le(1000)],
        hidden: Count,
        embedding: Count | None,
        dropout: Annotated[float, Ge(0), Lt(1)],
        skip_connections: bool,
        initial_state: Weight,
        learned_initial_state: bool,
        centred: bool = False,
        readout: Callable[[int, Space, nn.Parameter | None], Readout] = LinearReadout,
        locked_dropout: bool = False,
        embedding_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        weight_drop: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ):
        super().__init__(reads, answers, given)
        if embedding is not None and not isinstance(reads, Symbols):
            raise Refusal(f"model.embedding={embedding}: symbols are embedded, numbers are read as they are: take null")
        if embedding_dropout and embedding is None:
            raise Refusal(
                f"model.embedding_dropout={embedding_dropout}: no embedding to drop from: set model.embedding too"
            )
        self.skip_connections = skip_connections
        self.register_buffer("mean", torch.zeros(reads.width) if centred else None)
        self.embedding = None if embedding is None else nn.Embedding(reads.width, embedding)
        self.embedding_dropout = SymbolDropout(embedding_dropout)
        self.stack = Stack(
            cell,
            embedding or reads.width,
            layers,
            hidden,
            dropout,
            initial_state,
            learned_initial_state,
            locked_dropout,
            weight_drop,
        )
        self.readout = readout(
            hidden * (layers if skip_connections else 1), answers, None if embedding is None else self.embedding.weight
        )
        self.conditions = nn.ModuleList(nn.Linear(space.width, layers * hidden, bias=False) for space in given)

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if any(isinstance(space, Symbols) for space in data.given):
            return "is given vectors of numbers before the first step, not symbols: take model=encoder_decoder"
        if any(isinstance(space, Pixels) for space in data.given):
            return (
                "has no encoder that learns: take encoder.fine_tune=false, or a captioner such as model=show_and_tell"
            )
        return None

    def start(self, batch: int, *given: Tensor) -> State:
        """The state before the first element, each part [L, B, width]; the first one is h."""
        h, *others = self.stack.start(batch)
        for condition, part in zip(self.conditions, given, strict=True):
            h = h + condition(part).unflatten(-1, (len(h), -1)).transpose(0, 1)
        return h, *others

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, state = self.stack(self.read(x), state)
        return self.readout(self.seen(outputs)), state

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, State]:
        outputs, state = self.stack(self.read(batch.inputs), state)
        return self.readout.loss(self.seen(outputs), batch.targets), state

    def activities(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        return self.stack(self.read(x), state)

    def observe(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        outputs, state = self.stack(self.read(x), state)
        return self.readout(self.seen(outputs)), outputs, state

    def memory_cells(self, x: Tensor, state: State) -> list[dict[str, Tensor]]:
        return [layer for layer in self.stack.memory_cells(self.read(x), state) if layer]

    def read(self, x: Tensor) -> Tensor:
        """What the first layer reads: numbers, symbols where input is one-hot, or their embeddings."""
        if self.embedding is not None:
            return linear(x, self.embedding_dropout(self.embedding.weight).t())
        return x if self.mean is None or not x.is_floating_point() else x - self.mean

    def seen(self, outputs: list[Tensor]) -> Tensor:
        """What the readout sees of the layers' outputs."""
        return torch.cat(outputs, dim=-1) if self.skip_connections else outputs[-1]

    def stepper(self, state: State) -> Callable[[int], Tensor]:
        return Stepper(
            self.stack,
            self.read,
            lambda outputs: self.readout(self.seen(outputs)),
            self.reads.count,
            state,
            self.parameters(),
        )

    def run_on(self, device: str, engine: str = "auto", operations: float = 0.0, seconds: float | None = None) -> str:
        self.stack.run_on(device, engine, operations, seconds)
        return f"{self.stack.engine} recurrence (trainer.engine)"

    @property
    def seldom_used(self) -> bool:
        return bool(self.given) or any(part.requires_grad for part in self.stack.initial)

    @torch.no_grad()
    def look_at(self, data: Data) -> None:
        """Sets the means of a centred network, over the first batch of a pass; the answers' is added to the biases."""
        if self.mean is None:
            return
        batch = data.training(*data.shape(None, None)).at(0)
        if batch.inputs.is_floating_point():
            inside = batch.positions > 0  # what follows the end of a sequence has position 0
            inside[0] = True
            self.mean.copy_(batch.inputs[inside].mean(0))
        if isinstance(self.answers, Reals):
            self.readout.bias += batch.targets.nanmean((0, 1)).to(self.readout.bias.dtype)

    def finish_initialization(self) -> None:
        """The initial state, and what the cells' papers set, such as a forget bias."""
        self.stack.finish_initialization()
