"""What is published and fetched states about itself: its name, how it is read, and where its originals are."""

import importlib
import itertools
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from pipeline.command.choice import make
from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Name, Split, TrainSize, check_value
from pipeline.corpora.encodings import canonical
from pipeline.corpora.parts import PARTS, shares_of, split_borders
from pipeline.corpora.prepared import load
from pipeline.corpora.tokens import UNKNOWN

# What conf/data/base/corpus.yaml chooses.
USUAL = {"symbols": "characters", "tokens": None, "vocabulary": None, "least": 2, "split": "80-10-10"}
PUBLISHED = "published"  # the split of a corpus whose files are its parts


class CorpusError(Refusal):
    """A corpus cannot be fetched or prepared."""


def in_a_line(name: object) -> str:
    """A file's name or path as a message can hold it: as a literal where it has line breaks or is not UTF-8."""
    return str(name) if str(name).isprintable() else repr(str(name))


class Unreadable(CorpusError):
    """What is wrong with a file that was fetched, as what follows its name in a line."""

    def __init__(self, file: Path | str, why: str):
        super().__init__(f"{in_a_line(file)}{why}")
        self.file, self.why = Path(file), why


class Getter(Protocol):
    """A way to bring an original here."""

    kind: str  # "official", "pip", "apt", "path" or "generated"
    where: str  # address, package, path or program

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
class Published:
    """What is fetched and prepared before it is read, as conf/data states it: a text (`Corpus`), numbers
    (pipeline.corpora.arrays.Arrays), or pictures with sentences (pipeline.corpora.pictures.PictureSet). A new one is a
    subclass that lists `originals`, in a file by the name of its choice: linux.py for conf/data/linux.yaml.

    Raises Refusal for a name that is no folder's.
    """

    folder: Name  # below data/raw and data/prepared

    changes = False  # True: the source may change under the same name, so a finished fetch is fetched again
    usual: ClassVar[dict] = {}  # what its choice of conf/data sets, and no command line needs to say

    def __post_init__(self):
        check_value("data.name", self.folder, Name)

    def raw(self, root: Path) -> Path:
        """Where the fetched files are, below `root`."""
        return root / self.folder

    @property
    def directory(self) -> Path:
        """Where `prepare` puts what it makes of them."""
        raise NotImplementedError

    def originals(self) -> list[Original]:
        """Published forms in the order in which they are tried. CorpusError: the configuration names none."""
        raise NotImplementedError

    def copied_from(self, file: Path, root: Path) -> Path:
        """The user's own file that a fetched one, below `root`, is a link to or a copy of: what there is to mend. The
        fetched one where there is no other."""
        return file.readlink() if file.is_symlink() else file

    def request(self) -> dict:
        """What else decides which files are fetched, e.g. the subset; kept on the card."""
        return {}

    def prepared_by(self) -> dict:
        """The settings that decide what `prepare` makes of them."""
        return {}

    def complete(self) -> None:
        """Makes what is kept beside what `prepare` has made, where there is any: features of pictures."""

    def words(self) -> str:
        """What chooses this on a command line: "data=linux data.name=linux_all data.subset=all"."""
        choice = type(self).__module__.rpartition(".")[2]
        usual = {one.name: one.default for one in fields(self)} | USUAL | self.usual | {"name": choice}
        asked = self.request()
        chosen = {"name": self.folder} | asked | self.prepared_by()
        words = [
            _word(f"data.{name}", value)
            for name, value in chosen.items()
            if value != usual[name] or value is None and name in asked
        ]
        return " ".join([f"data={choice}", *words])


@dataclass
class Corpus(Published):
    """A text. A new corpus is a file of pipeline/corpora.

    Raises Refusal for symbols, tokens, a split or an encoding that there are not, or that do not go together.
    """

    symbols: Literal["characters", "bytes", "words"]
    split: Split | Literal["published"]
    prepared: str  # where `prepare` puts the symbol arrays
    prompts: list[str]  # beginnings that evaluate lets a trained model complete
    dataset: str  # the class of pipeline.datasets that reads what was prepared
    tokens: Literal["treebank", "spaces"] | None = field(default=None, kw_only=True)
    vocabulary: Count | None = field(default=None, kw_only=True)  # words, the most frequent ones; None: no limit
    least: Count = field(default=2, kw_only=True)  # occurrences in the training part that make a word known
    encoding: str | None = field(default=None, kw_only=True)  # None: UTF-8, or what a byte order mark says
    train_size: TrainSize | None = field(default=None, kw_only=True)  # symbols that are learned from; None: all

    in_parts = False  # True: its files are the parts, as they are published

    def __post_init__(self):
        super().__post_init__()
        check_value("data.symbols", self.symbols, Literal["characters", "bytes", "words"])
        check_value("data.tokens", self.tokens, Literal["treebank", "spaces"] | None)
        check_value("data.vocabulary", self.vocabulary, Count | None)
        check_value("data.least", self.least, Count)
        if self.symbols == "words" and self.vocabulary is not None and self.vocabulary < 3:
            raise CorpusError(
                f"data.vocabulary={self.vocabulary}: {UNKNOWN} is one of them, and a line break may be: take 3 or "
                "more, or null for no limit"
            )
        check_value("data.train_size", self.train_size, TrainSize | None)
        if self.split != PUBLISHED:
            shares_of(self.split)
        elif not self.in_parts:
            raise CorpusError(f"data.split={PUBLISHED}: {self.folder} is published as a whole: take 80-10-10")
        if self.encoding is not None:
            canonical(self.encoding)
        for name, value in (("encoding", self.encoding), ("tokens", self.tokens)):
            if value is not None and self.symbols == "bytes":
                raise CorpusError(
                    f"data.{name}={value}: bytes are read as they are: take data.symbols=characters, or "
                    f"data.{name}=null"
                )

    @property
    def cut_by(self) -> str | None:
        """How it is cut into words (pipeline.corpora.tokens); None: it is read as it is."""
        return "treebank" if self.symbols == "words" and self.tokens is None else self.tokens

    @property
    def directory(self) -> Path:
        """Where the symbol arrays are: `prepared`, or beside it a folder of its own for each encoding, way to cut
        tokens, and vocabulary."""
        of_words = [f"{self.vocabulary or 'all'}-{self.least}"] if self.symbols == "words" else []
        encoding = None if self.encoding is None else canonical(self.encoding)
        return Path("-".join([self.prepared, *filter(None, (encoding, self.cut_by)), *of_words]))

    def stretches(self, paths: list[str]) -> list[list[str]]:
        """The files that are read one after the other: all of them, or each part's. CorpusError: they are not as many
        as there are parts."""
        if self.split != PUBLISHED:
            return [paths]
        if len(paths) != len(PARTS):
            raise CorpusError(f"{self.folder} has {len(paths)} files, not one for each part: fetch it again")
        return [[path] for path in paths]

    def borders(self, totals: list[int]) -> dict[str, slice]:
        """Where the parts begin and end, with so many symbols in each of the `stretches`. Raises Refusal for a part
        with less than two."""
        total = sum(totals)
        if not total:
            raise CorpusError(f"the corpus {self.folder} is empty: take a text with something in it")
        if self.split != PUBLISHED:
            return split_borders(total, self.split, f"{self.folder} has {total:,} {self.symbols}")
        if min(totals) < 2:
            raise CorpusError(f"{self.folder} has a part of {min(totals)} {self.symbols}: fetch it again")
        ends = list(itertools.accumulate(totals, initial=0))
        return dict(zip(PARTS, map(slice, ends, ends[1:])))

    def open(self, local: str | None = None):
        """The prepared corpus as data to learn from; read from a copy in the folder `local` if one is named.

        Raises Refusal where it was not prepared, is damaged, or has less than `train_size`, and CorpusError for a
        `dataset` that reads no corpora.
        """
        dataset = dataset_class(self.dataset, "pipeline.datasets.text.Text")
        prepared = load(self.directory, self.prompts, local, self.words())
        return dataset(prepared if self.train_size is None else prepared.learned_from(self.train_size))

    def prepared_by(self) -> dict:
        return {name: getattr(self, name) for name in (*USUAL, "encoding")}


def dataset_class(dataset: str, usual: str) -> type:
    """The class of that dotted name. CorpusError: it reads no data, with the `usual` one to take instead."""
    module, _, name = str(dataset).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not hasattr(found, "training"):
        raise CorpusError(f"data.dataset={dataset}: no class that reads a corpus: take {usual}")
    return found


def _word(setting: str, value: str | None) -> str:
    """`setting=value` as a shell and Hydra read it; "..." for a value that is not known, or that no line can hold."""
    if value is None or not str(value).isprintable():
        return f"{setting}=..."
    if re.fullmatch(r"[\w./+-]+", str(value)):
        return f"{setting}={value}"
    quoted = str(value).replace("'", "\\'")
    return shlex.quote(f"{setting}='{quoted}'")


def corpus_of(choice: Mapping) -> Published:
    """What is to be fetched and prepared. Raises CorpusError for data that are made on the spot."""
    corpus = make(choice)
    if not isinstance(corpus, Published):
        raise CorpusError(f"data={choice.name} is made where it is used: there is nothing to fetch or prepare")
    return corpus
