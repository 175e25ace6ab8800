"""What every encoder of pictures offers, so that features are made, kept and learned in one way.

Shapes: B pictures, S pixels a side, F features.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.command.setting import Crop


class Encoder(ABC):
    """f(x) in R^F of a picture x: what a choice of conf/encoder names. Making one loads no weights; `network` does.

    label      of its folder and of messages, such as "resnet50"
    size       S: what is seen of a picture is scaled to S x S pixels
    crop       the middle square, of so much of the shorter side, above 0 and at most 1; None: the whole picture, which
               is stretched where it is no square
    fine_tune  whether it is learned with the network that is given its features, rather than kept as it is
    width      F
    """

    label: str
    size: int
    crop: Crop
    fine_tune: bool
    width: int
    resample: ClassVar[Image.Resampling] = Image.Resampling.BILINEAR

    @property
    @abstractmethod
    def weights(self) -> str:
        """What tells these weights from others: their sha256, or how they are drawn. Raises Refusal where they are not
        here."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Pictures [B, 3, S, S], uint8 -> features [B, F]; freshly made, the same each time."""

    def settings(self) -> dict:
        """What else decides the features."""
        return {}

    @property
    def key(self) -> str:
        """A checksum of all that decides the features of a picture: weights, preprocessing and settings."""
        decides = {"label": self.label, "weights": self.weights, "size": self.size, "crop": self.crop}
        decides |= {"resample": self.resample.name, "width": self.width, "settings": self.settings()}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """What is seen of an RGB picture as the network reads it: [3, S, S], uint8."""
        box = None
        if self.crop is not None:
            width, height = picture.size
            side = self.crop * min(width, height)
            box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
        scaled = picture.resize((self.size, self.size), self.resample, box=box)
        return np.asarray(scaled).transpose(2, 0, 1)


class Convolutional(nn.Module):
    """pool(body((x - mean) / std)), flattened: a convolutional network without its classifier.

    mean, std  of pixels 0..255, of each colour or of all
    body       [B, 3, S, S] -> [B, C, h, w], or [B, C]
    cells      g: the mean of body's outputs over each of g x g cells of the picture; F = C g^2
    It stays in evaluation mode: statistics of batch normalization, where there are any, are those that came with the
    weights, also while the encoder is learned.
    """

    def __init__(self, body: nn.Module, mean: list[float], std: list[float], cells: int):
        super().__init__()
        self.body, self.pool = body, nn.AdaptiveAvgPool2d(cells)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.body((pictures.to(self.mean.dtype) - self.mean) / self.std)
        return (x if x.dim() == 2 else self.pool(x)).flatten(1)

    def train(self, mode: bool = True) -> "Convolutional":
        return super().train(False)
