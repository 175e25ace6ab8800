"""A few small pictures with sentences, as pipeline.corpora.pictures.Pictures offers them, made on the spot."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.command.refusal import Refusal
from pipeline.corpora.vocabulary import Words

WORDS = ["<unk>", "a", "red", "green", "square", "and", "<end>"]
PARTS = ("train", "validation", "test")


class DrawnPictures:
    """N pictures of noise, files of their own; picture k is of part PARTS[k % 3] and has 1 + k % 3 sentences of lengths
    1, 2, .. in turn."""

    def __init__(self, folder: Path, count: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.directory = folder / "prepared" / "drawn" / "captions"
        self.directory.mkdir(parents=True)
        self.names = [f"{k:03}.png" for k in range(count)]
        self.opened = []
        for k, name in enumerate(self.names):
            colours = rng.integers(256, size=(20 + k % 5, 24, 3), dtype=np.uint8)
            Image.fromarray(colours).save(self.directory / name)
        self.vocabulary = Words(WORDS, "spaces")
        self.picture_of_sentence = np.repeat(np.arange(count), 1 + np.arange(count) % 3)
        lengths = 1 + np.arange(len(self.picture_of_sentence)) % 9
        self.sentence_ends = np.cumsum(lengths)
        self.words = rng.integers(len(WORDS) - 1, size=lengths.sum()).astype(np.uint16)
        self._parts = np.arange(count) % 3
        counts = {part: int((self._parts == at).sum()) for at, part in enumerate(PARTS)}
        self.card = {"corpus": "drawn", "split": "by-number", "counts": counts}
        self.card |= {"fingerprint": f"{seed:0<64}", "pictures": f"{seed + 1:0<64}"}

    def __len__(self) -> int:
        return len(self.names)

    def part_of(self, part: str) -> np.ndarray:
        return np.flatnonzero(self._parts == PARTS.index(part))

    def written(self, s: int) -> np.ndarray:
        return self.words[self.sentence_ends[s - 1] if s else 0 : self.sentence_ends[s]]

    def sentences(self, k: int) -> list[str]:
        return [self.vocabulary.decode(self.written(s)) for s in np.flatnonzero(self.picture_of_sentence == k)]

    def open(self, k: int) -> Image.Image:
        path = self.directory / self.names[k]
        try:
            return Image.open(path).convert("RGB")
        except OSError:
            raise Refusal(f"{path} is missing: prepare again") from None
