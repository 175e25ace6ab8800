"""A prepared corpus, as training and evaluation read it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.verb import Refusal

from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Prepared:
    """Memory-mapped arrays of symbol indices, shape (n,), values 0..V; V is a symbol that the training part lacks."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray | None  # None for splits of two parts: validation is the held-out part
    vocabulary: Vocabulary
    card: dict


def load(directory: Path | str) -> Prepared:
    """The corpus that `prepare` left in `directory`. Refusal: there is none; the message says how to make it."""
    directory = Path(directory)
    if not (directory / "card.json").exists():
        corpus = directory.parent.name
        raise Refusal(f"no prepared corpus in {directory}: run `python -m pipeline.fetch data={corpus}` and "
                      f"`python -m pipeline.prepare data={corpus}`")
    card = json.loads((directory / "card.json").read_text())
    parts = {part: np.load(directory / f"{part}.npy", mmap_mode="r") for part in card["counts"]}
    return Prepared(parts["train"], parts["validation"], parts.get("test"),
                    Vocabulary.read(directory / "vocabulary.json"), card)
