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
    over g x g cells; then for each of `dense` a linear layer and ReLU: F = dense[-1], or without any channels[-1] g^2.

    channels   of each pair of convolutions
    dense      units of each layer that sees the whole picture
    cells      g;  size  S, pixels a side;  crop  as of every encoder
    seed       of the weights, drawn by He's rule
    fine_tune  learned; otherwise random features
    """

    label = "small_cnn"

    def __init__(
        self,
        channels: list[Count],
        dense: list[Count],
        cells: Count,
        size: Annotated[int, Ge(8), Le(1024)],
        crop: Crop,
        seed: Seed,
        fine_tune: bool,
    ):
        self.channels, self.dense = list(channels), list(dense)
        self.cells, self.size, self.crop, self.seed, self.fine_tune = cells, size, crop, seed, fine_tune
        self.width = [channels[-1] * cells**2, *dense][-1]

    @property
    def weights(self) -> str:
        return f"random {self.seed}"

    def settings(self) -> dict:
        return {"channels": self.channels, "dense": self.dense, "cells": self.cells}

    def network(self) -> nn.Module:
        body, dense = drawn(self._parts, self.seed)
        convolutional = Convolutional(body, [127.5], [127.5], self.cells)
        return nn.Sequential(convolutional, *dense) if len(dense) else convolutional

    def _parts(self) -> nn.ModuleList:
        """What comes before the cells, and what comes after."""
        body, dense = nn.Sequential(), nn.Sequential()
        for before, channels in pairwise([3, *self.channels]):
            for inputs, stride in ((before, 2), (channels, 1)):
                body.append(by_he(nn.Conv2d(inputs, channels, 3, stride, padding=1)))
                body.append(nn.GroupNorm(math.gcd(GROUPS, channels), channels))
                body.append(nn.ReLU())
        for inputs, units in pairwise([self.channels[-1] * self.cells**2, *self.dense]):
            dense.append(by_he(nn.Linear(inputs, units)))
            dense.append(nn.ReLU())
        return nn.ModuleList([body, dense])


def by_he(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Weights uniform in +-sqrt(6 / inputs of a unit) (He et al. 2015), biases 0."""
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer
