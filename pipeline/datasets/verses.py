"""The same verses in English and in Spanish: the Bible, in the King James Version and in the Reina-Valera of 1909."""

import hashlib
import html
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Seed, TrainSize
from pipeline.corpora.arrays import Arrays
from pipeline.corpora.checksums import verify
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.packages import Apt
from pipeline.corpora.tokens import UNKNOWN
from pipeline.corpora.unpack import from_deb
from pipeline.corpora.vocabulary import Vocabulary, Words
from pipeline.datasets.pairs import Pair, Pairs

PACKAGES = {"english": "sword-text-kjv", "spanish": "sword-text-sparv"}
SUMS = {  # sha256 of 14.3-1 and of 2.60-1
    "sword-text-kjv": "9f463f28ce665f6f528fc723179722bced880a4c5485f7a41bf742838315de57",
    "sword-text-sparv": "5c87f9b2bc97457e8a872f5bae7ea7ce59cb3de1dcee73e4d4740451863694cf",
}
KEPT = [f"{testament}.{kind}" for testament in ("ot", "nt") for kind in ("bzs", "bzv", "bzz")]
APART = re.compile(r"<(note|title)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)  # what is no part of a verse
TWENTIETHS = {0: "validation", 1: "test"}  # of the verses; the others train


@dataclass(frozen=True)
class Both:
    """Both packages, in a folder."""

    kind = "apt"
    where = " ".join(PACKAGES.values())

    def get(self, folder: Path) -> tuple[Path, str]:
        versions = []
        for package in PACKAGES.values():
            (folder / package).mkdir(exist_ok=True)
            versions.append(Apt(package).get(folder / package)[1])
        return folder, ", ".join(versions)


@dataclass
class Verses(Arrays):
    """Given is a verse in English, asked the same in Spanish: 31,084 verses that both translations number alike.

    symbols     "words": what stands between spaces, punctuation marks by themselves; rare ones are one, <unk>
                "characters"
    vocabulary  of words: the most frequent ones of the training part, of each language; None: no limit
    least       of words: occurrences in the training part that make one known
    train_size  verses that are learned from; None: all
    seed        of the order in which a pass reads them
    reads, answers  Symbols(V + 1), those of Spanish and END; given Symbols(V), those of English
    Parts: by the sha256 of the verse's number 18 in 20 train, one validates, one tests. Passages that the Bible has
    twice may be in two parts.
    """

    symbols: Literal["words", "characters"]
    vocabulary: Count | None
    least: Count
    train_size: TrainSize | None
    seed: Seed

    def originals(self) -> list[Original]:
        return [Original("public domain", place_texts, "sword-text", Both(), "14.3-1, 2.60-1")]

    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """The text of each language in UTF-8, verse after verse, and where each ends: english, english_ends, spanish,
        spanish_ends."""
        texts = []
        for first in (0, len(KEPT)):
            some = paths[first : first + len(KEPT)]
            texts.append([verse for start in (0, 3) for verse in read_texts(*some[start : start + 3])])
        if len(texts[0]) != len(texts[1]):
            raise CorpusError(f"one translation has {len(texts[0]):,} verses, the other {len(texts[1]):,}")
        both = [pair for pair in zip(*texts) if all(pair)]
        if not both:
            raise CorpusError("no verse is in both translations: fetch the packages again")
        found = {}
        for language, verses in zip(PACKAGES, zip(*both)):
            encoded = [verse.encode() for verse in verses]
            found[language] = np.frombuffer(b"".join(encoded), np.uint8)
            found[f"{language}_ends"] = np.cumsum([len(verse) for verse in encoded])
        return found

    def open(self, local: str | None = None) -> Pairs:
        arrays = self.read(local)
        texts = [
            [verse.tobytes().decode() for verse in np.split(np.asarray(arrays[one]), arrays[f"{one}_ends"][:-1])]
            for one in PACKAGES
        ]
        parts: dict[str, list] = {"train": [], "validation": [], "test": []}
        for number, pair in enumerate(zip(*texts)):
            parts[TWENTIETHS.get(hashlib.sha256(str(number).encode()).digest()[-1] % 20, "train")].append(pair)
        alphabets = [self._alphabet(verses, learned) for verses, learned in zip(texts, zip(*parts["train"]))]
        if self.train_size is not None:
            if self.train_size > len(parts["train"]):
                raise Refusal(
                    f"data.train_size={self.train_size}: the training part has {len(parts['train']):,} verses: take at "
                    "most so many, or null for all"
                )
            parts["train"] = parts["train"][: self.train_size]
        source, target = alphabets
        pairs = {
            part: [Pair(source.encode(one), [target.encode(other)], (one, other)) for one, other in some]
            for part, some in parts.items()
        }
        called = {"words": "word", "characters": "char"}[self.symbols]
        return Pairs("verses", source, target, (called, called), pairs, self.seed)

    def _alphabet(self, verses: list[str], learned: tuple[str, ...]) -> "Vocabulary | Tokens":
        """Characters of all verses; words of those that are learned from."""
        if self.symbols == "characters":
            return Vocabulary("characters", sorted(set(map(ord, "".join(verses)))))
        counts = Counter(word for verse in learned for word in TOKEN.findall(verse))
        known = sorted((word for word in counts if counts[word] >= self.least), key=lambda word: (-counts[word], word))
        return Tokens([UNKNOWN, *known[: self.vocabulary]], "spaces")


TOKEN = re.compile(r"\w+|[^\w\s]")


class Tokens(Words):
    """Words, and punctuation marks by themselves."""

    def cut(self, text: str) -> list[str]:
        return TOKEN.findall(text)

    def decode(self, indices) -> str:
        text = " ".join(self.words[index] for index in np.asarray(indices).tolist())
        return re.sub(r" ([,.;:?!)\]’”»])|([¿¡(\[‘“«]) ", r"\1\2", text)


def place_texts(path: Path, folder: Path) -> list[str]:
    """The texts of both packages, which lie somewhere in the folder `path`. CorpusError: one is not there, or another
    than SUMS says."""
    names = []
    for language, package in PACKAGES.items():
        found = sorted(path.rglob(f"{package}*.deb"))
        if len(found) != 1:
            raise CorpusError(f"there are {len(found)} packages {package}*.deb, not one")
        verify(found[0], None, SUMS[package])

        def kept(member: str, language: str = language) -> str | None:
            name = PurePosixPath(member).name
            return f"{language}/{name}" if "/texts/ztext/" in member and name in KEPT else None

        placed = from_deb(found[0], folder, kept)
        if len(placed) != len(KEPT):
            raise CorpusError(f"{package} holds {len(placed)} of {', '.join(KEPT)}")
        names += [f"{language}/{name}" for name in KEPT]
    return names


def read_texts(blocks: Path, verses: Path, packed: Path) -> Iterator[str]:
    """The verses of a testament as a module of the SWORD project keeps it (zText), in their order, without markup; ""
    for what is no verse: a title, an introduction, one that is left out.

    blocks  of 12 bytes: where a packed block begins, its length, and that of what is in it
    verses  of 10 bytes: the number of a block, and where in it a verse begins, its length
    packed  the blocks, zlib
    Little-endian. CorpusError: they are not.
    """
    try:
        content = packed.read_bytes()
        texts = [
            zlib.decompress(content[start : start + size])
            for start, size, _ in struct.iter_unpack("<III", blocks.read_bytes())
        ]
        for block, start, size in struct.iter_unpack("<IIH", verses.read_bytes()):
            yield plain(texts[block][start : start + size].decode("utf-8")) if size else ""
    except (struct.error, zlib.error, IndexError, UnicodeDecodeError) as error:
        raise CorpusError(f"{packed.name} holds no verses: {error}") from error


def plain(markup: str) -> str:
    """A verse in OSIS as it is read: without tags, notes, titles and marks of paragraphs, each run of white space a
    space."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>|¶|\\nd ", "", APART.sub("", markup))).split())
