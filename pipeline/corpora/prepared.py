"""A prepared corpus, as training and evaluation read it."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.files.landing import landing, lock


@dataclass(frozen=True)
class Prepared:
    """A corpus in parts: memory-mapped arrays of symbol indices, shape (n,), values 0..V; V is a symbol that the
    training part lacks.

    parts    "train", "validation", and "test" where the split has one
    prompts  beginnings that finished models are asked to complete
    """

    parts: dict[str, np.ndarray]
    vocabulary: Vocabulary
    card: dict
    prompts: tuple[str, ...] = ()


def load(directory: Path | str, prompts: Sequence[str] = (), local: Path | str | None = None) -> Prepared:
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
    return Prepared(parts, Vocabulary.read(directory / "vocabulary.json"), card, tuple(prompts))


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
