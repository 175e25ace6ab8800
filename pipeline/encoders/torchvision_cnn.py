"""The convolutional networks of torchvision, with weights that lie on this machine."""

from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Crop, Seed
from pipeline.encoders.encoder import Convolutional, Encoder
from pipeline.encoders.weights import checksum, drawn, hash_in_name, load_weights


class Layer(NamedTuple):
    """Which layer's outputs are the features, by its name in torchvision, how many they are, and whether they are of
    places in the picture."""

    name: str
    channels: int
    in_places: bool = True


LAYERS = {
    "resnet18": Layer("layer4", 512),
    "resnet50": Layer("layer4", 2048),
    "resnet101": Layer("layer4", 2048),
    "vgg16": Layer("classifier.4", 4096, in_places=False),
    "mobilenet_v3_small": Layer("features", 576),
    "mobilenet_v3_large": Layer("features", 960),
    "efficientnet_b0": Layer("features", 1280),
}
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # of ImageNet's pixels, as torchvision's weights expect


class TorchvisionCNN(Encoder):
    """The last convolution's outputs, their mean over g x g cells of the picture, F = C g^2; of vgg16 the rectified
    outputs of fc7, as Karpathy and Fei-Fei 2015 and LRCN take them. Pixels are normalized by ImageNet's mean and
    standard deviation.

    architecture  one of torchvision's
    weights       "cached": those that torchvision has downloaded before, from its cache; "random": drawn with `seed`;
                  or a file with a state_dict of the whole network
    cells, crop, fine_tune  as of pipeline.encoders.efficientnet_lite.EfficientNetLite
    size          S, pixels a side
    Nothing is ever downloaded. Raises Refusal for cells of a layer that is not of places.
    """

    def __init__(
        self,
        architecture: Literal[
            "resnet18", "resnet50", "resnet101", "vgg16", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"
        ],
        weights: str,
        seed: Seed,
        cells: Count,
        crop: Crop,
        size: Count,
        fine_tune: bool,
    ):
        self.label, self.source, self.seed, self.cells = architecture, weights, seed, cells
        self.crop, self.size, self.fine_tune = crop, size, fine_tune
        self.layer = LAYERS[architecture]
        if cells > 1 and not self.layer.in_places:
            raise Refusal(f"encoder.cells={cells}: {architecture}'s fc7 is of the whole picture: take 1")
        self.width = self.layer.channels * cells**2

    @property
    def weights(self) -> str:
        return f"random {self.seed}" if self.source == "random" else checksum(self.file())

    def settings(self) -> dict:
        return {"cells": self.cells}

    def network(self) -> nn.Module:
        from torchvision.models import get_model

        body = drawn(partial(get_model, self.label, weights=None), self.seed)
        if self.source != "random":
            load_weights(body, self.file(), f"encoder.weights={self.source}", "take another, or random")
        return Convolutional(UpTo(self.layer.name, body), MEAN, STD, self.cells)

    def file(self) -> Path:
        """Where the weights are. Raises Refusal where they are not, or are not what their name says."""
        if self.source != "cached":
            path = Path(self.source)
            if not path.is_file():
                raise Refusal(f"encoder.weights={self.source}: there is no such file: take another, cached or random")
            return path
        from torchvision.models import get_model_weights

        url = get_model_weights(self.label).DEFAULT.url
        path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
        if not path.is_file():
            raise Refusal(
                f"encoder={self.label}: torchvision has no weights of it in {path.parent}: put {path.name} there, or "
                f'let torchvision fetch it: `python -c "import torchvision; torchvision.models.{self.label}'
                "(weights='DEFAULT')\"`; or take encoder=efficientnet_lite0, or encoder.weights=FILE or random"
            )
        if not hash_in_name(path):
            raise Refusal(
                f"encoder={self.label}: {path} is damaged (its sha256 is another): remove it and fetch it again"
            )
        return path


class UpTo(nn.Module):
    """The outputs of the layer `name` of a network; what comes after is left out."""

    def __init__(self, name: str, network: nn.Module):
        from torchvision.models.feature_extraction import create_feature_extractor

        super().__init__()
        self.network = create_feature_extractor(network, {name: "outputs"})

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)["outputs"]
