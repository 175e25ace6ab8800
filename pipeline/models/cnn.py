"""A small convolutional network that sees one picture at a time."""

from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.cells.products import linear
from pipeline.command.setting import Count
from pipeline.datasets.data import Data
from pipeline.datasets.space import Image, Space
from pipeline.models.frames import Frames, no_pictures, rectified
from pipeline.models.model import SequenceModel
from pipeline.models.readout import LinearReadout
from pipeline.recurrence.dropout import Dropout


class CNN(SequenceModel):
    """f_t = frames(x_t), h_t = relu(W f_t + b), z_t = V h_t + c: what is asked of a picture, and of frame t of many by
    that frame alone: the network of pipeline.models.frame_tagger without its memory.

    reads     pictures;  answers  what is asked of each
    filters, features  of pipeline.models.frames.Frames
    hidden    H units
    dropout   probability in [0, 1) of a 0 among h
    The state, which is of no use: [1, B, 1], zeros.
    """

    learned_by = ("gradient",)
    roles = {"hidden": "input"}

    def __init__(
        self,
        reads: Image,
        answers: Space,
        given: tuple[Space, ...],
        filters: list[Count],
        features: Count,
        hidden: Count,
        dropout: Annotated[float, Ge(0), Lt(1)],
    ):
        super().__init__(reads, answers, given)
        self.frames = Frames(reads, list(filters), features)
        self.hidden = nn.Linear(features, hidden)
        rectified(self.hidden)
        self.dropout = Dropout(dropout)
        self.readout = LinearReadout(hidden, answers)

    @classmethod
    def fits(cls, data: Data) -> str | None:
        return no_pictures(data) or super().fits(data)

    def start(self, batch: int) -> State:
        return (torch.zeros(1, batch, 1, device=self.device, dtype=self.dtype),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        [h], state = self.activities(x, state)
        return self.readout(h), state

    def activities(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        h = torch.relu(linear(self.frames(x), self.hidden.weight, self.hidden.bias))
        return [self.dropout(h)], state
