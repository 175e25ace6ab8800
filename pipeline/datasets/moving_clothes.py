"""Clothes of Fashion-MNIST that move: what is it, at every frame?"""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.command.setting import Count, NotNegative, Seed, Share
from pipeline.datasets.fashion_mnist import CLASSES, Clothes
from pipeline.datasets.moving import Moving


@dataclass
class MovingClothes(Clothes):
    """Clothes of 14 x 14 pixels: pipeline.datasets.moving.Moving. Parts have those of different pictures."""

    frames: Count
    side: Count
    noise: NotNegative
    hidden: Share
    speed: NotNegative
    seed: Seed
    episodes: Count
    held: Count

    usual: ClassVar[dict] = {"name": "fashion_mnist"}

    def open(self, local: str | None = None) -> Moving:
        scene = (self.frames, self.side, self.noise, self.hidden, self.speed)
        drawn = (self.seed, self.episodes, self.held)
        return Moving("moving_clothes", self.pools(local), "garment", CLASSES, *scene, *drawn)
