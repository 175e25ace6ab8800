"""NeuralTalk: the image is a bias of the first step."""

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


class NeuralTalk(Captioner):
    """b_v = W_hi v, h_t = f(W_hx e_t + W_hh h_{t-1} + b_h + [t = 1] b_v), y_t = softmax(W_oh h_t + b_o)
    (Karpathy & Fei-Fei 2015, eq. 13-15), f = max(0, .). In other cells than their RNN the image is added to every
    projection of the input: the first layer reads [e_t; [t = 1] v].

    layers, hidden, dropout  as in RecurrentNetwork;  embedding  E
    word_dropout  as in Captioner
    The state: that of the layers, and v [1, B, F] until it has been read, zeros from then on.
    """

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        cell: Callable[[int, int], Cell],
        layers: Count,
        hidden: Count,
        embedding: Count,
        dropout: Annotated[float, Ge(0), Lt(1)],
        word_dropout: Annotated[float, Ge(0), Lt(1)],
        readout: Callable[[int, Space, nn.Parameter | None], Readout] = LinearReadout,
    ):
        super().__init__(reads, answers, given, embedding, word_dropout)
        self.stack = Stack(cell, embedding + self.features, layers, hidden, dropout)
        self.readout = readout(hidden, answers, self.embedding.weight)

    def shown(self, batch: int, v: Tensor) -> State:
        return *self.stack.start(batch), v[None]

    def run(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        *before, image = state
        seen_once = torch.cat([image, torch.zeros_like(image).expand(len(x) - 1, -1, -1)])
        outputs, after = self.stack(torch.cat([self.read(x), seen_once], dim=-1), tuple(before))
        return outputs[-1], outputs, (*after, torch.zeros_like(image))
