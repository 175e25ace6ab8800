"""m-RNN: words, memory and image meet in a multimodal layer at every step."""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from pipeline.cells.cell import Cell, State
from pipeline.command.setting import Count
from pipeline.datasets.space import Space
from pipeline.models.captioner import Captioner
from pipeline.models.readout import LinearReadout, Readout
from pipeline.recurrence.stack import Stack


class MRNN(Captioner):
    """Multimodal recurrent network (Mao et al. 2015, eq. 2-4): of two embedding layers the second is w_t = E_2 e_t,

    r_t = max(0, U_r r_{t-1} + w_t),  m_t = g(V_w w_t + V_r r_t + V_I v),  g(x) = 1.7159 tanh(2 x / 3),
    p = softmax(readout(m_t))

    With the cell DirectRNN r_t is as in the paper; other cells project w_t.
    layers, hidden, dropout  as in RecurrentNetwork; w_t is as wide as a layer;  embedding  E of the first layer
    word_dropout  as in Captioner
    multimodal  numbers of m_t
    The state: that of the layers, and V_I v + b [1, B, multimodal].
    """

    roles = Captioner.roles | {"second": "input", "multimodal": "input"}

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        cell: Callable[[int, int], Cell],
        layers: Count,
        hidden: Count,
        embedding: Count,
        multimodal: Count,
        dropout: Annotated[float, Ge(0), Lt(1)],
        word_dropout: Annotated[float, Ge(0), Lt(1)],
        readout: Callable[[int, Space, nn.Parameter | None], Readout] = LinearReadout,
    ):
        super().__init__(reads, answers, given, embedding, word_dropout)
        self.second = nn.Linear(embedding, hidden)
        self.stack = Stack(cell, hidden, layers, hidden, dropout)
        self.image = nn.Linear(self.features, multimodal)
        self.multimodal = nn.Linear(2 * hidden, multimodal, bias=False)
        self.readout = readout(multimodal, answers, self.embedding.weight)

    def shown(self, batch: int, v: Tensor) -> State:
        return *self.stack.start(batch), self.image(v)[None]

    def run(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        *before, image = state
        w = self.second(self.read(x))
        outputs, after = self.stack(w, tuple(before))
        m = 1.7159 * torch.tanh(2 / 3 * (self.multimodal(torch.cat([w, outputs[-1]], dim=-1)) + image))
        return m, outputs, (*after, image)
