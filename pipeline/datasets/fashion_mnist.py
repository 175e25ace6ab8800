"""Fashion-MNIST: pictures of clothes, one at a time, or moving."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from torch import Generator

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, NotNegative, Seed, Share
from pipeline.corpora.arrays import Arrays
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.packages import Apt
from pipeline.corpora.parts import make_card
from pipeline.corpora.unpack import from_deb
from pipeline.datasets.episodes import SHOWN, Sequence
from pipeline.datasets.moving import Moving
from pipeline.datasets.pictured import Pool, checksum, pictured
from pipeline.datasets.ragged import Ragged
from pipeline.datasets.space import Image, Symbols
from pipeline.decoding.network import Network

PACKAGE = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"  # 0.0~git20200523.55506a9-1
FILES = {  # name of an array -> file
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SIDE = 28


@dataclass
class Clothes(Arrays):
    """60,000 and 10,000 grey pictures of 28 x 28 pixels, of ten kinds of clothes (Xiao, Rasul and Vollgraf 2017).

    validation  the last so many of the 60,000 validate
    """

    validation: Count

    def originals(self) -> list[Original]:
        package = Apt("dataset-fashion-mnist")
        return [Original("MIT", place_pictures, "dataset-fashion-mnist.deb", package, sha256=PACKAGE)]

    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """Of "train" and "test": <part>_images [N, 28, 28] and <part>_labels [N], 0..9, uint8."""
        found = {name: read_idx(path) for name, path in zip(FILES, paths, strict=True)}
        for part in ("train", "test"):
            images, labels = found[f"{part}_images"], found[f"{part}_labels"]
            if images.shape != (len(labels), SIDE, SIDE) or labels.max(initial=0) >= len(CLASSES):
                raise CorpusError(f"{part}: {images.shape} pictures, {labels.shape} classes: fetch it again")
        return found

    def pools(self, local: str | None) -> dict[str, Pool]:
        """The pictures of each part. Raises Refusal where none is left to learn from."""
        arrays = self.read(local)
        images, labels = arrays["train_images"], arrays["train_labels"]
        kept = len(images) - self.validation
        if kept < 1:
            raise Refusal(f"data.validation={self.validation}: take fewer than the {len(images):,} training pictures")
        return {
            "train": (images[:kept], labels[:kept]),
            "validation": (images[kept:], labels[kept:]),
            "test": (arrays["test_images"], arrays["test_labels"]),
        }


@dataclass
class FashionMNIST(Clothes):
    """One to one: a sequence is one picture, and at it is asked what it shows.

    seed  of the order in which a pass reads them
    reads Image(784), 0 to 1; answers Symbols(10)
    """

    seed: Seed

    def open(self, local: str | None = None) -> "Pictures":
        return Pictures("fashion_mnist", self.pools(local), "garment", CLASSES, self.seed)


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

    def open(self, local: str | None = None) -> Moving:
        scene = (self.frames, self.side, self.noise, self.hidden, self.speed)
        drawn = (self.seed, self.episodes, self.held)
        return Moving("moving_clothes", self.pools(local), "garment", CLASSES, *scene, *drawn)


class Pictures(Ragged):
    """Single pictures, T = 1, each made of its bytes when it is asked for.

    pools  part -> pictures and their classes;  classes  what they are called;  element  what one is called
    seed   of the order in which a pass reads them
    """

    def __init__(self, name: str, pools: dict[str, Pool], element: str, classes: tuple[str, ...], seed: int):
        self.name, self.classes, self.seed = name, classes, seed
        self.reads, self.answers = Image(shape=(1, *pools["train"][0].shape[1:])), Symbols(len(classes), element)
        self.parts = {part: Singles(*pool) for part, pool in pools.items()}
        counts = {part: len(some) for part, some in self.parts.items()}
        self.card = make_card(name, "-".join(map(str, counts.values())), counts, checksum(pools, seed))

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """Pictures of the part that models are judged on, what the model answers and what is right."""
        part = self.parts[self.judged_on]
        for number in range(min(SHOWN, len(part)) if length else 0):
            yield pictured(self, network, part[number], length)


class Singles:
    """The pictures of a part as sequences of one step, by their numbers."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels
        self.lengths, self.given_lengths = np.ones(len(labels), np.int64), np.zeros(len(labels), np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int) -> Sequence:
        return Sequence(self.images[k].reshape(1, -1) / 255, self.labels[k : k + 1].astype(np.int64), ())


def place_pictures(path: Path, folder: Path) -> list[str]:
    files = list(FILES.values())
    names = from_deb(path, folder, lambda member: name if (name := PurePosixPath(member).name) in files else None)
    return sorted(names, key=files.index)


def read_idx(path: Path) -> np.ndarray:
    """The bytes of a packed IDX file, in its shape: two zeros, 8 for bytes, the number of dimensions, and each as four
    bytes, the highest first (LeCun's format). CorpusError: it is none."""
    try:
        content = gzip.decompress(path.read_bytes())
        if len(content) < 4 or content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin as one of bytes")
        start = 4 + 4 * content[3]
        return np.frombuffer(content[start:], np.uint8).reshape(np.frombuffer(content[4:start], ">i4"))
    except (OSError, EOFError, ValueError) as error:
        raise CorpusError(f"{path.name} is no IDX file: {error}") from error
