"""LRCN: the image is read beside every word."""

from collections.abc import Callable
from typing import Annotated, Literal

from annotated_types import Ge, Lt
from torch import Tensor, nn

from pipeline.cells.cell import Cell, State
from pipeline.command.setting import Count
from pipeline.datasets.space import Space
from pipeline.models.captioner import Captioner, beside
from pipeline.models.readout import LinearReadout, Readout
from pipeline.recurrence.stack import Stack


class LRCN(Captioner):
    """Long-term recurrent convolutional network (Donahue et al. 2015, figure 4), p(w_t) = softmax(readout(h_t)):
    1u, 2u  h^1_t = cell([e_t; v], h^1_{t-1}), and in 2u h^2_t = cell(h^1_t, h^2_{t-1})   (unfactored)
    2f      h^1_t = cell(e_t, h^1_{t-1}), h^2_t = cell([h^1_t; v], h^2_{t-1})             (factored: words alone below)

    form  1u, 2u or 2f;  hidden, dropout  as in RecurrentNetwork;  embedding  E
    word_dropout  as in Captioner
    The state: that of the layers, of the lower one first where they are factored, and v [1, B, F].
    """

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        cell: Callable[[int, int], Cell],
        form: Literal["1u", "2u", "2f"],
        hidden: Count,
        embedding: Count,
        dropout: Annotated[float, Ge(0), Lt(1)],
        word_dropout: Annotated[float, Ge(0), Lt(1)],
        readout: Callable[[int, Space, nn.Parameter | None], Readout] = LinearReadout,
    ):
        super().__init__(reads, answers, given, embedding, word_dropout)
        factored = form == "2f"
        self.words = Stack(cell, embedding, 1, hidden, dropout) if factored else None
        self.stack = Stack(
            cell, (hidden if factored else embedding) + self.features, 2 if form == "2u" else 1, hidden, dropout
        )
        self.readout = readout(hidden, answers, self.embedding.weight)

    def shown(self, batch: int, v: Tensor) -> State:
        below = () if self.words is None else self.words.start(batch)
        return *below, *self.stack.start(batch), v[None]

    def run(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        *before, image = state
        read, lower, below = self.read(x), [], ()
        if self.words is not None:
            parts = len(before) // 2
            lower, below = self.words(read, tuple(before[:parts]))
            [read], before = lower, before[parts:]
        outputs, after = self.stack(beside(read, image), tuple(before))
        return outputs[-1], [*lower, *outputs], (*below, *after, image)
