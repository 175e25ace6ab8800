"""The feed-forward neural language model of Bengio et al. 2003."""

import math

import torch
from torch import Tensor, nn

from pipeline.cells.products import linear
from pipeline.command.refusal import Refusal
from pipeline.datasets.space import Symbols
from pipeline.models.model import SequenceModel, State
from pipeline.models.taps import delayed, no_taps


class FeedforwardLM(SequenceModel):
    """e = [C x_t; C x_{t-1}; ..; C x_{t-K+1}],
    log p(x_{t+1}) = log softmax(b + W e + U tanh(d + H e)) (Bengio et al. 2003, eq. 1).

    space      Symbols; unknown ones, and what lies before a sequence, are embedded as zeros
    taps       K >= 1 symbols are seen;  embedding  m >= 1, entries of a symbol's feature vector;
    hidden     h >= 1 tanh units
    direct_connections  whether there is W; without it the features reach the output through the tanh layer alone
    Parameters: V m + h (K m + 1) + V (h + 1), and V K m for W.
    """

    def __init__(self, space: Symbols, taps: int, embedding: int, hidden: int, direct_connections: bool):
        super().__init__()
        if not isinstance(space, Symbols):
            raise Refusal(
                "model=feedforward_lm reads symbols, not real values: take model=delay_taps, or data=shakespeare"
            )
        self.space, self.taps = space, taps
        self.features = nn.Parameter(torch.randn(embedding, space.count) / math.sqrt(embedding))
        self.hidden = nn.Linear(taps * embedding, hidden)
        self.output = nn.Linear(hidden, space.count)
        self.direct = nn.Linear(taps * embedding, space.count, bias=False) if direct_connections else None

    def start(self, batch: int) -> State:
        return (no_taps(self.space, batch, self.taps, self.features),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen, last = delayed(x, *state)
        embedded = linear(seen, self.features).flatten(2)
        logits = linear(
            torch.tanh(linear(embedded, self.hidden.weight, self.hidden.bias)), self.output.weight, self.output.bias
        )
        return (logits if self.direct is None else logits + linear(embedded, self.direct.weight)), (last,)
