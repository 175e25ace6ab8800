"""A prepared corpus, as training and evaluation read it."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.space import Symbols
from pipeline.datasets.streams import Streams
from pipeline.files.landing import landing, lock


@dataclass(frozen=True)
class Prepared:
    """Memory-mapped arrays of symbol indices, shape (n,), values 0..V; V is a symbol that the training part lacks."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray | None  # None for splits of two parts: validation is the held-out part
    vocabulary: Vocabulary
    card: dict

    @property
    def space(self) -> Symbols:
        return Symbols(len(self.vocabulary))

    @property
    def elements(self) -> int:
        """Symbols of the training part."""
        return len(self.train)

    def streams(self, batch: int, length: int, rank: int = 0, world: int = 1) -> Streams:
        """The training part as windows of `batch` streams over `length` steps; this rank's share of them."""
        return Streams(self.train, len(self.vocabulary), batch, length, rank, world)


def load(directory: Path | str, local: Path | str | None = None) -> Prepared:
    """The corpus that `prepare` left in `directory`, read from a copy in the folder `local` if one is named.

    Refusal: there is none; the message says how to make it.
    """
    directory = Path(directory)
    if not (directory / "card.json").exists():
        corpus = directory.parent.name
        raise Refusal(
            f"no prepared corpus in {directory}: run `python -m pipeline.fetch data={corpus}` and "
            f"`python -m pipeline.prepare data={corpus}`"
        )
    card = json.loads((directory / "card.json").read_text())
    if local is not None:
        directory = _copied(directory, Path(local), card["fingerprint"])
    parts = {part: np.load(directory / f"{part}.npy", mmap_mode="r") for part in card["counts"]}
    return Prepared(
        parts["train"], parts["validation"], parts.get("test"), Vocabulary.read(directory / "vocabulary.json"), card
    )


def _copied(directory: Path, local: Path, fingerprint: str) -> Path:
    """The copy of `directory` below `local`, made by the first of this machine's processes that asks."""
    copy = local / f"{directory.parent.name}-{fingerprint[:16]}"
    try:
        with lock(copy, local):
            if not copy.exists():
                with landing(copy, local) as folder:
                    shutil.copytree(directory, folder, dirs_exist_ok=True)
    except OSError as error:  # a full disk, a folder that cannot be written
        raise Refusal(
            f"paths.local={local}: {error}: "
            "name a folder on this node's own disk with room for the corpus, or leave it out"
        ) from error
    return copy
