"""A small convolutional network, to be learned with the network that is given its features."""

from functools import partial
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import nn

from pipeline.command.setting import Count, Seed
from pipeline.encoders.encoder import Convolutional, Encoder
from pipeline.encoders.weights import drawn


class SmallCNN(Encoder):
    """Convolutions 3 x 3 with stride 2 and ReLU, one after the other, on pixels from -1 to 1; then the mean over g x g
    cells: F = channels[-1] g^2.

    channels   of each convolution
    cells      g;  size  S, pixels a side;  crop  what of the shorter side is seen, above 0 and at most 1
    seed       of the weights, uniform in +-sqrt(6 / inputs of a unit) (He et al. 2015)
    fine_tune  learned; otherwise random features
    """

    label = "small_cnn"

    def __init__(
        self,
        channels: list[Count],
        cells: Count,
        size: Annotated[int, Ge(8), Le(1024)],
        crop: Annotated[float, Gt(0), Le(1)],
        seed: Seed,
        fine_tune: bool,
    ):
        self.channels, self.cells, self.size, self.crop = list(channels), cells, size, crop
        self.seed, self.fine_tune, self.width = seed, fine_tune, channels[-1] * cells**2

    @property
    def weights(self) -> str:
        return f"random {self.seed}"

    def settings(self) -> dict:
        return {"channels": self.channels, "cells": self.cells}

    def network(self) -> nn.Module:
        return Convolutional(drawn(self._body, self.seed), [127.5], [127.5], self.cells)

    def _body(self) -> nn.Module:
        layer = partial(nn.Conv2d, kernel_size=3, stride=2, padding=1)
        body = nn.Sequential(
            *(part for widths in pairwise([3, *self.channels]) for part in (layer(*widths), nn.ReLU()))
        )
        for convolution in body[::2]:
            nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
        return body
