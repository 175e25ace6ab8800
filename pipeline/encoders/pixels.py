"""A small picture as it is: the features of one who has no encoder."""

from typing import Annotated

from annotated_types import Ge, Le
from torch import nn

from pipeline.command.setting import Crop
from pipeline.encoders.encoder import Convolutional, Encoder


class Pixels(Encoder):
    """The picture scaled to S x S, its pixels from -1 to 1: F = 3 S^2. Nothing is learned or loaded.

    size  S, pixels a side;  crop  as of every encoder
    """

    label, fine_tune, weights = "pixels", False, "none"

    def __init__(self, size: Annotated[int, Ge(1), Le(256)], crop: Crop):
        self.size, self.crop, self.width = size, crop, 3 * size**2

    def network(self) -> nn.Module:
        return Convolutional(nn.Identity(), [127.5], [127.5], self.size)
