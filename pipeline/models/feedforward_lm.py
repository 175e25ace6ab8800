"""The feed-forward neural language model of Bengio et al. 2003."""

import math

import torch
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.cells.products import linear
from pipeline.command.setting import Count
from pipeline.datasets.data import Data
from pipeline.datasets.space import Space, Symbols
from pipeline.models.model import SequenceModel
from pipeline.models.taps import delayed, no_taps


class FeedforwardLM(SequenceModel):
    """e = [C x_t; C x_{t-1}; ..; C x_{t-K+1}],
    log p(x_{t+1}) = log softmax(b + W e + U tanh(d + H e)) (Bengio et al. 2003, eq. 1).

    reads      Symbols; unknown ones, and what lies before a sequence, are embedded as zeros
    taps       K >= 1 symbols are seen;  embedding  m >= 1, entries of a symbol's feature vector;
    hidden     h >= 1 tanh units
    direct_connections  whether there is W; without it the features reach the output through the tanh layer alone
    Parameters: V m + h (K m + 1) + V (h + 1), and V K m for W.
    """

    roles = {"features": "embedding", "hidden": "input", "output": "output", "direct": "output", "bias": "bias"}

    def __init__(
        self,
        reads: Symbols,
        answers: Space,
        given: tuple[Space, ...],
        taps: Count,
        embedding: Count,
        hidden: Count,
        direct_connections: bool,
    ):
        super().__init__(reads, answers, given)
        self.taps = taps
        self.features = nn.Parameter(torch.randn(embedding, reads.count) / math.sqrt(embedding))
        self.hidden = nn.Linear(taps * embedding, hidden)
        self.output = nn.Linear(hidden, answers.width)
        self.direct = nn.Linear(taps * embedding, answers.width, bias=False) if direct_connections else None

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if not isinstance(data.reads, Symbols):
            return "reads symbols, not numbers: take model=delay_taps, or data=shakespeare"
        return super().fits(data)

    def start(self, batch: int) -> State:
        return (no_taps(self.reads, batch, self.taps, self.features),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen, last = delayed(x, *state)
        embedded = linear(seen, self.features).flatten(2)
        logits = linear(
            torch.tanh(linear(embedded, self.hidden.weight, self.hidden.bias)), self.output.weight, self.output.bias
        )
        return (logits if self.direct is None else logits + linear(embedded, self.direct.weight)), (last,)
