"""A small convolutional network on every frame, and a recurrent network over what it sees."""

from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge, Le, Lt
from torch import Tensor, nn

from pipeline.cells.cell import Cell
from pipeline.command.setting import Count
from pipeline.datasets.data import Data
from pipeline.datasets.space import Image, Reals, Space
from pipeline.models.frames import Frames, no_pictures
from pipeline.models.readout import LinearReadout, Readout
from pipeline.models.recurrent import RecurrentNetwork


class FrameTagger(RecurrentNetwork):
    """f_t = frames(x_t), h^l_t = cell(h^{l-1}_t, h^l_{t-1}), h^0_t = f_t, z_t = readout(h^L_t): many to many in step
    (Donahue et al. 2015, long-term recurrent convolutional networks).

    reads     pictures;  answers  what is asked at frames
    filters, features  of pipeline.models.frames.Frames
    cell, layers, hidden, dropout, readout  as of RecurrentNetwork
    """

    learned_by = ("gradient",)

    def __init__(
        self,
        reads: Image,
        answers: Space,
        given: tuple[Space, ...],
        filters: list[Count],
        features: Count,
        cell: Callable[[int, int], Cell],
        layers: Annotated[int, Ge(1), Le(1000)],
        hidden: Count,
        dropout: Annotated[float, Ge(0), Lt(1)],
        readout: Callable[[int, Space, nn.Parameter | None], Readout] = LinearReadout,
    ):
        super().__init__(
            Reals(features),
            answers,
            given,
            cell=cell,
            layers=layers,
            hidden=hidden,
            embedding=None,
            dropout=dropout,
            skip_connections=False,
            initial_state=0.0,
            learned_initial_state=False,
            readout=readout,
        )
        self.reads, self.frames = reads, Frames(reads, list(filters), features)

    @classmethod
    def fits(cls, data: Data) -> str | None:
        return no_pictures(data) or super().fits(data)

    def read(self, x: Tensor) -> Tensor:
        return self.frames(x)
