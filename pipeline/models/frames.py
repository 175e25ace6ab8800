"""What a small convolutional network sees in a picture.

Shapes: T time, B batch, D = C H W pixels, F features.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.cells.products import linear
from pipeline.datasets.data import Data
from pipeline.datasets.space import Image

KERNEL = 3


class Frames(nn.Module):
    """a_0 = x, a_k = relu(W_k * a_{k-1} + b_k), f = relu(W a_K + b): K convolutions by 3 x 3 kernels with stride 2 and
    a margin of 1, of every picture by itself, then all that they see in F numbers.

    reads     pictures
    filters   channels of a_1 .. a_K, K >= 0
    features  F
    Weights start ~ N(0, 2 / what a unit sees), biases at 0 (He et al. 2015).
    """

    roles = {"convolutions": "input", "features": "input"}

    def __init__(self, reads: Image, filters: list[int], features: int):
        super().__init__()
        self.shape = reads.shape
        channels, height, width = self.shape
        self.convolutions = nn.ModuleList(
            nn.Conv2d(one, other, KERNEL, stride=2, padding=1) for one, other in pairwise([channels, *filters])
        )
        for _ in filters:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.features = nn.Linear((filters[-1] if filters else channels) * height * width, features)
        for layer in (*self.convolutions, self.features):
            rectified(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [T, B, D] -> [T, B, F]."""
        a = x.reshape(-1, *self.shape)
        for convolution in self.convolutions:
            a = torch.relu(convolution(a))
        return torch.relu(linear(a.reshape(*x.shape[:2], -1), self.features.weight, self.features.bias))


def rectified(layer: nn.Conv2d | nn.Linear) -> None:
    """Draws a layer before a rectifier so that what it gives is as large as what it sees."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)


def no_pictures(data: Data) -> str | None:
    """Why a model of pictures does not fit the data; None where it does."""
    if isinstance(data.reads, Image):
        return None
    return "reads pictures: take data=fashion_mnist, moving_digits, moving_clothes or ucf101, or model=lstm"
