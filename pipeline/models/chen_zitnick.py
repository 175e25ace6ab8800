"""Chen & Zitnick 2015: a memory of what was said, from which the image is reconstructed."""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from pipeline.cells.cell import Cell, State
from pipeline.command.setting import Count, NotNegative
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Space
from pipeline.models.captioner import Captioner, beside
from pipeline.models.readout import LinearReadout, Readout
from pipeline.recurrence.stack import Stack


class ChenZitnick(Captioner):
    """s_t = cell([e_t; v], s_{t-1}), u_t = cell(e_t, u_{t-1}), p(w_t) = softmax(readout([s_t; u_t; v])),
    v~_t = W u_t + b  (Chen & Zitnick 2015, figure 2, on the language model of Mikolov & Zweig 2012, whose
    features reach its hidden and its output layer). u has read words alone: what it says of the image, v~, is what the
    words so far tell of it.

    loss = sum over what is asked of -log p(w_t) + reconstruction |v - v~_t|^2 / F

    layers, hidden, dropout  as in RecurrentNetwork, of s and of u;  embedding  E
    word_dropout  as in Captioner
    reconstruction  weight of the second loss, >= 0; what is judged is the first alone
    The state: that of s, that of u, and v [1, B, F].
    """

    learned_by = ("gradient",)  # the second loss has no curvature that Hessian-free knows
    roles = Captioner.roles | {"reconstruction": "output"}

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
        reconstruction: NotNegative,
        readout: Callable[[int, Space, nn.Parameter | None], Readout] = LinearReadout,
    ):
        super().__init__(reads, answers, given, embedding, word_dropout)
        self.language = Stack(cell, embedding + self.features, layers, hidden, dropout)
        self.visual = Stack(cell, embedding, layers, hidden, dropout)
        self.reconstruction = nn.Linear(hidden, self.features)
        self.weight = reconstruction
        self.readout = readout(2 * hidden + self.features, answers, self.embedding.weight)

    def shown(self, batch: int, v: Tensor) -> State:
        return *self.language.start(batch), *self.visual.start(batch), v[None]

    def run(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        *before, image = state
        e, parts = self.read(x), len(before) // 2
        s, language = self.language(beside(e, image), tuple(before[:parts]))
        u, visual = self.visual(e, tuple(before[parts:]))
        seen = beside(torch.cat([s[-1], u[-1]], dim=-1), image)
        return seen, [*s, *u], (*language, *visual, image)

    def reconstructed(self, u: Tensor) -> Tensor:
        """v~_t of what the visual memory's last layer gives, [T, B, H] -> [T, B, F]."""
        return self.reconstruction(u)

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, State]:
        image = state[-1]
        seen, outputs, state = self.run(batch.inputs, state)
        error = (image.detach() - self.reconstructed(outputs[-1])).square().mean(-1)
        second = torch.where(self.answers.asked(batch.targets), error, 0.0).sum()
        return self.readout.loss(seen, batch.targets) + self.weight * second, state
