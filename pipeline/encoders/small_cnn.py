"""A small convolutional network, to be learned with the network that is given its features."""

import math
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Le
from torch import nn

from pipeline.command.setting import Count, Crop, Seed
from pipeline.encoders.encoder import Convolutional, Encoder
from pipeline.encoders.weights import drawn

GROUPS = 8  # of channels that are normalized together, where so many divide them


class SmallCNN(Encoder):
    """For each of `channels` two convolutions 3 x 3, the first with stride 2, each followed by group normalization
    (Wu & He 2018, over one picture: the same while it learns and after) and ReLU, on pixels from -1 to 1; then the mean
    over g x g cells: F = channels[-1] g^2.

    channels   of each pair of convolutions
    cells      g;  size  S, pixels a side;  crop  as of every encoder
    seed       of the weights, uniform in +-sqrt(6 / inputs of a unit) (He et al. 2015)
    fine_tune  learned; otherwise random features
    """

    label = "small_cnn"

    def __init__(
        self,
        channels: list[Count],
        cells: Count,
        size: Annotated[int, Ge(8), Le(1024)],
        crop: Crop,
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
        parts = []
        for before, channels in pairwise([3, *self.channels]):
            for inputs, stride in ((before, 2), (channels, 1)):
                convolution = nn.Conv2d(inputs, channels, 3, stride, padding=1)
                nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
                nn.init.zeros_(convolution.bias)
                parts += [convolution, nn.GroupNorm(math.gcd(GROUPS, channels), channels), nn.ReLU()]
        return nn.Sequential(*parts)
