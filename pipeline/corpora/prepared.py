"""A prepared corpus, as training and evaluation read it."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NotRequired

import numpy as np
from annotated_types import Ge
from pydantic import StringConstraints
from typing_extensions import TypedDict

from pipeline.command.refusal import Refusal
from pipeline.corpora.verified import Sum, verify
from pipeline.corpora.vocabulary import Vocabulary, Words, read_vocabulary
from pipeline.files.landing import landing, lock
from pipeline.files.whole import read_json

Elements = Annotated[int, Ge(2)]


class Counts(TypedDict):
    """Elements of each part."""

    train: Elements
    validation: Elements
    test: NotRequired[Elements]


class Card(TypedDict):
    """What card.json in data/prepared/<corpus>/... says, of what a reader needs."""

    corpus: str
    symbols: str
    split: str
    counts: Counts
    unknown: dict[str, int]
    fingerprint: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    files: NotRequired[dict[str, Sum]]  # file name -> its size and sha256; cards of earlier versions have none
    characters: NotRequired[dict[str, int]]  # of each part of a text by words, and
    spelling: NotRequired[dict[str, float]]  # what it costs to spell the words that the vocabulary lacks, in nats


class ArraysCard(TypedDict):
    """The same of what is no text."""

    corpus: str
    fingerprint: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    files: dict[str, Sum]


@dataclass(frozen=True)
class Prepared:
    """A corpus in parts: memory-mapped arrays of symbol indices, shape (n,), values 0..V; V is a character or byte
    that the training part lacks.

    parts    "train", "validation", and "test" where the split has one
    prompts  beginnings that finished models are asked to complete
    """

    parts: dict[str, np.ndarray]
    vocabulary: Vocabulary | Words
    card: dict
    prompts: tuple[str, ...] = ()

    def learned_from(self, size: int) -> "Prepared":
        """The same with the first `size` symbols of the training part alone. Vocabulary and held-out parts stay, so
        that losses compare between sizes; the fingerprint tells them apart. Raises Refusal where there are fewer."""
        card, whole = self.card, self.card["counts"]["train"]
        if size > whole:
            raise Refusal(
                f"data.train_size={size}: the training part of {card['corpus']} has {whole:,} {card['symbols']}: take "
                "at most so many, or null for all"
            )
        if size == whole:
            return self
        fingerprint = hashlib.sha256(f"{card['fingerprint']} {size}".encode()).hexdigest()
        changed = {"counts": card["counts"] | {"train": size}, "fingerprint": fingerprint}
        for name in ("characters", "outside", "spelling"):  # of words: not known of a piece of the training part
            if name in card:
                changed[name] = {part: number for part, number in card[name].items() if part != "train"}
        return replace(self, parts=self.parts | {"train": self.parts["train"][:size]}, card=card | changed)


def load(
    directory: Path | str, prompts: Sequence[str] = (), local: Path | str | None = None, words: str = "data=..."
) -> Prepared:
    """The corpus that `prepare` left in `directory`, read from a copy in the folder `local` if one is named.

    words  what chooses the corpus on a command line, for messages: "data=linux"
    Raises Refusal where there is none, where it is damaged, or has no checksums to tell; the message says how to make
    it.
    """
    directory, card, mend = brought(Path(directory), local, words, Card, _check_sums)
    path = directory / "card.json"
    parts = {part: np.load(directory / f"{part}.npy", mmap_mode="r") for part in card["counts"]}
    if {part: len(symbols) for part, symbols in parts.items()} != card["counts"]:
        raise Refusal(f"{path} is damaged (its counts are not those of the arrays): {mend}")
    return Prepared(parts, read_vocabulary(directory / "vocabulary.json", mend), card, tuple(prompts))


def brought(
    directory: Path,
    local: Path | str | None,
    words: str,
    form: type,
    check: Callable[[dict, Path, str], None] = lambda card, path, mend: None,
) -> tuple[Path, dict, str]:
    """What `prepare` left in `directory`, held against the checksums of its card: where it can be read, its card, and
    the mend for what is found amiss.

    form   of the card;  check  raises Refusal for a card that this does not make complete
    Raises Refusal as `load`.
    """
    prepare = f"`python -m pipeline.prepare {words}`"
    path, mend = directory / "card.json", f"run {prepare} again"
    if not path.exists():
        raise Refusal(f"no prepared corpus in {directory}: run `python -m pipeline.fetch {words}` and {prepare}")
    card = read_json(path, mend, form)
    check(card, path, mend)
    if local is not None:
        return _copied(directory, Path(local), card, mend), card, mend
    verify(directory, card["files"], directory.parent.parent, mend)
    return directory, card, mend


def _check_sums(card: dict, path: Path, mend: str) -> None:
    """Raises Refusal for the card of a text that lacks the checksum of a file."""
    if "files" not in card:
        raise Refusal(f"{path} is of an earlier version, which kept no checksums: {mend}")
    if lacking := {"vocabulary.json", *(f"{part}.npy" for part in card["counts"])} - card["files"].keys():
        raise Refusal(f"{path} is damaged (it has no checksum of {min(lacking)}): {mend}")


def _copied(directory: Path, local: Path, card: dict, mend: str) -> Path:
    """The copy of `directory` below `local`, made by the first of this machine's processes that asks, and again once it
    is damaged."""
    copy = local / f"{directory.parent.name}-{card['fingerprint'][:16]}"
    try:
        with lock(copy, local):
            if copy.exists():
                try:
                    verify(copy, card["files"], local, mend)
                    return copy
                except Refusal as damage:
                    print(f"{str(damage).removesuffix(f': {mend}')}: it is copied again", flush=True)
            verify(directory, card["files"], directory.parent.parent, mend)
            with landing(copy, local) as folder:
                shutil.copytree(directory, folder, dirs_exist_ok=True)
            verify(copy, card["files"], local, f"remove {copy}, or name another folder (paths.local)")
    except OSError as error:  # a full disk, a folder that cannot be written
        raise Refusal(
            f"paths.local={local}: {error}: "
            "name a folder on this node's own disk with room for the corpus, or leave it out"
        ) from error
    return copy
