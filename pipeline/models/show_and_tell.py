"""Show and Tell: the image is the first thing that is read."""

from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor, nn

from pipeline.cells.cell import Cell, State
from pipeline.command.setting import Count
from pipeline.datasets.space import Space
from pipeline.models.captioner import Captioner
from pipeline.models.readout import LinearReadout, Readout
from pipeline.recurrence.stack import Stack


class ShowAndTell(Captioner):
    """x_{-1} = W_v v + b_v, x_t = E w_t; h_t = cell(x_t, h_{t-1}) from t = -1 on; p(w_{t+1}) = softmax(readout(h_t))
    (Vinyals, Toshev, Bengio & Erhan 2015, eq. 10-12). The image is seen once, and nothing is asked there. Their LSTM
    reads c without a tanh; the cell here is any of the zoo.

    layers, hidden, dropout  as in RecurrentNetwork;  embedding  E, of words and of the image
    word_dropout  as in Captioner
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
        self.image = nn.Linear(self.features, embedding)
        self.stack = Stack(cell, embedding, layers, hidden, dropout)
        self.readout = readout(hidden, answers, self.embedding.weight)

    def shown(self, batch: int, v: Tensor) -> State:
        return self.stack(self.image(v)[None], self.stack.start(batch))[1]

    def run(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        outputs, state = self.stack(self.read(x), state)
        return outputs[-1], outputs, state
