"""Encoder-decoders: one recurrent network reads a sequence, another writes what is made of it.

Shapes: S symbols of a source, T time, B batch, E width of an embedding, H hidden, L layers.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn

from pipeline.cells.cell import Cell, State
from pipeline.cells.products import linear
from pipeline.command.setting import Count
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import Data
from pipeline.datasets.space import Space, Symbols
from pipeline.models.model import SequenceModel
from pipeline.models.readout import LinearReadout, Readout
from pipeline.recurrence.holding import Holding
from pipeline.recurrence.stack import Stack


class EncoderDecoder(SequenceModel):
    """e_s = encoder(E x_s, e_{s-1}), s = 1..S; h_t = decoder(F y_{t-1}, h_{t-1}), z_t = readout(h_t^L).

    summary "state"       h_0 = e_S: the last state of each layer, memory cells too, starts the same layer of the
                          decoder (Sutskever, Vinyals & Le 2014)
            "every_step"  c = tanh(V e_S^L) is read at every step, h_t = decoder([F y_{t-1}; c], h_{t-1}), h_0^l =
                          tanh(W^l c), z_t = readout([h_t^L; F y_{t-1}; c]); no maxout layer (Cho et al. 2014, equations
                          (3), (8) and (9) and appendix A.1.2). c is a part of the state.
    source  "reversed": x_S comes first, as in Sutskever et al.;  "forward";  "both": two encoders, and in place of a
            part of their states its linear map, U [forward; reversed], layer by layer
    reads, answers, given  of the data: what is given is one sequence of symbols; those that are blank after its end
            change nothing
    cell       (D, H) -> a cell of pipeline.cells, for both networks
    layers     L >= 1, of each;  hidden  H >= 1
    embedding  E, of symbols of the source and of the answer, a matrix each
    dropout    probability in [0, 1), on the output of every layer
    readout    (width of what it sees, answers, embedding F) -> a readout of pipeline.models.readout
    """

    learned_by = ("gradient",)
    roles = {"embedding": "embedding", "of_source": "embedding", "joined": "input", "summarize": "input"}
    roles |= {"begin": "input"}

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        cell: Callable[[int, int], Cell],
        layers: Annotated[int, Ge(1), Le(1000)],
        hidden: Count,
        embedding: Count,
        dropout: Annotated[float, Ge(0), Lt(1)],
        summary: Literal["state", "every_step"],
        source: Literal["reversed", "forward", "both"],
        readout: Callable[[int, Space, nn.Parameter | None], Readout] = LinearReadout,
    ):
        super().__init__(reads, answers, given)
        self.source = source
        self.of_source = nn.Embedding(given[0].width, embedding)
        self.embedding = nn.Embedding(reads.width, embedding)
        directions = 2 if source == "both" else 1
        self.encoders = nn.ModuleList(
            Stack(lambda *widths: Holding(cell(*widths)), embedding, layers, hidden, dropout) for _ in range(directions)
        )
        every_step = summary == "every_step"
        self.decoder = Stack(cell, embedding + hidden * every_step, layers, hidden, dropout)
        widths = self.decoder.cells[0].state.values()
        self.joined = nn.ModuleList(
            nn.ModuleList(nn.Linear(2 * width, width, bias=False) for _ in range(layers))
            for width in widths
            if source == "both"
        )
        self.summarize = nn.Linear(hidden, hidden, bias=False) if every_step else None
        self.begin = nn.Linear(hidden, layers * hidden, bias=False) if every_step else None
        seen = hidden + (embedding + hidden) * every_step
        self.readout = readout(seen, answers, self.embedding.weight)

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if len(data.given) == 1 and isinstance(data.given[0], Symbols) and isinstance(data.reads, Symbols):
            return None
        return "turns one sequence of symbols into another: take data=pronunciation or verses"

    def start(self, batch: int, *given: Tensor) -> State:
        """What is given [B, S] -> the decoder's state before the first step, each part [L, B, width], and c
        [1, B, H]."""
        [source_BS] = given
        state = self.encode(source_BS)
        if self.summarize is None:
            return state
        summary = torch.tanh(self.summarize(state[0][-1]))
        first, *others = self.decoder.start(batch)
        first = torch.tanh(self.begin(summary)).unflatten(-1, (len(first), -1)).transpose(0, 1)
        return first, *others, summary[None]

    def encode(self, source_BS: Tensor) -> State:
        """The state after the last symbol of each source, each part [L, B, width]; the first one is e_S."""
        steps = torch.arange(1, source_BS.shape[1] + 1, device=source_BS.device)
        lengths_B = ((source_BS != self.given[0].count) * steps).amax(1)
        orders = {"forward": [source_BS], "reversed": [turned(source_BS, lengths_B)]}
        orders["both"] = orders["forward"] + orders["reversed"]
        ends = []
        for encoder, order_BS in zip(self.encoders, orders[self.source], strict=True):
            *state, left = encoder.start(len(source_BS))
            left = lengths_B[:, None].to(left.dtype).expand(left.shape)
            read = linear(order_BS.t(), self.of_source.weight.t())
            ends.append(encoder(read, (*state, left))[1][:-1])
        if self.source != "both":
            return ends[0]
        parts = (torch.cat(two, -1) for two in zip(*ends))
        return tuple(
            torch.stack([one(layer) for one, layer in zip(maps, part)]) for maps, part in zip(self.joined, parts)
        )

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen, _, state = self._run(x, state)
        return self.readout(seen), state

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, State]:
        seen, _, state = self._run(batch.inputs, state)
        return self.readout.loss(seen, batch.targets), state

    def activities(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        _, outputs, state = self._run(x, state)
        return outputs, state

    def observe(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        seen, outputs, state = self._run(x, state)
        return self.readout(seen), outputs, state

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        """What the readout sees, what the decoder's layers give, and the state after."""
        read = linear(x, self.embedding.weight.t())
        if self.summarize is None:
            outputs, state = self.decoder(read, state)
            return outputs[-1], outputs, state
        *before, summary = state
        at_each = summary.expand(len(x), -1, -1)
        outputs, after = self.decoder(torch.cat([read, at_each], -1), tuple(before))
        return torch.cat([outputs[-1], read, at_each], -1), outputs, (*after, summary)

    def run_on(self, device: str, engine: str = "auto", operations: float = 0.0, seconds: float | None = None) -> str:
        for encoder in self.encoders:
            # No library has a kernel for cells that hold.
            encoder.run_on(device, "auto" if engine == "library" else engine, operations, seconds)
        self.decoder.run_on(device, engine, operations, seconds)
        return f"{self.decoder.engine} recurrence (trainer.engine)"

    def finish_initialization(self) -> None:
        for stack in (*self.encoders, self.decoder):
            stack.finish_initialization()


def turned(source_BS: Tensor, lengths_B: Tensor) -> Tensor:
    """Each sequence from its last symbol to its first; what is after its end stays there."""
    places_S = torch.arange(source_BS.shape[1], device=source_BS.device)
    from_end_BS = lengths_B[:, None] - 1 - places_S
    return source_BS.gather(1, torch.where(from_end_BS >= 0, from_end_BS, places_S))
