"""From a text to the numbers of its words: each is numbered as it first occurs while tokens are cut, and by its
frequency in the training part once the parts are known. In memory are the numbers, not the text: about 20 bytes a word.
"""

import hashlib
import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.corpora.corpus import Corpus, CorpusError
from pipeline.corpora.parts import make_card
from pipeline.corpora.reading import blocks, progress
from pipeline.corpora.tokens import BREAK, UNKNOWN, words
from pipeline.corpora.verified import Sum
from pipeline.corpora.vocabulary import Words

CODES = 1_114_112  # code points: a letter that no such word has is any of them


def write_words(corpus: Corpus, files: list[Path], folder: Path, raw: dict) -> dict:
    """Writes the vocabulary and the words of each part into `folder`; returns the card. It says beside what that of a
    text by characters says, for each part: "characters" that its words make up, how many words are "outside" the
    vocabulary, and the nats that it costs to spell these, "spelling".

    The fingerprint is the sha256 of the vocabulary, the arrays' type and borders, and their values in order.
    CorpusError: it is no text (see reading.pieces), has no word that is known, or is so short that a part is empty.
    """
    order, totals, tally = scan(corpus, corpus.stretches([str(path) for path in files]), folder / "words")
    first_T = np.fromfile(folder / "words", np.uint32)
    (folder / "words").unlink()
    borders = corpus.borders(totals)
    occurring = list(order)
    counts = np.bincount(first_T[borders["train"]], minlength=len(occurring))
    chosen = ranked(corpus, occurring, counts)
    if all(occurring[one] == BREAK for one in chosen):
        raise CorpusError(
            f"{corpus.folder} has no word that occurs data.least={corpus.least} times in the training part: take a "
            "longer text, or data.least=1"
        )
    if np.count_nonzero(counts) == 1:
        raise CorpusError(
            f"{corpus.folder} has {counts.sum():,} words in the training part, all of them "
            f"{occurring[counts.argmax()]!r}: there is nothing to learn: take another text"
        )
    vocabulary = Words([UNKNOWN, *(occurring[one] for one in chosen)], corpus.cut_by)
    table = np.zeros(len(occurring), vocabulary.dtype)
    table[chosen] = np.arange(1, len(chosen) + 1)
    lacking = np.flatnonzero((table == 0) & (np.array(occurring, object) != UNKNOWN))
    spelling = Spelling({occurring[one]: int(counts[one]) for one in lacking if counts[one]})
    nats = np.zeros(len(occurring))
    nats[lacking] = [spelling.of(occurring[one]) for one in lacking]
    lengths = np.array([len(one) + (one != BREAK) for one in occurring])
    ends = {part: (border.start, border.stop) for part, border in borders.items()}
    checksum = hashlib.sha256((vocabulary.to_json() + json.dumps([vocabulary.dtype.str, ends])).encode())
    (folder / "vocabulary.json").write_text(vocabulary.to_json())
    card = {"characters": {}, "outside": {}, "spelling": {}}
    for part, border in borders.items():
        inside = first_T[border]
        np.save(folder / f"{part}.npy", table[inside])
        checksum.update(table[inside])
        breaks = inside == order.get(BREAK, len(occurring))
        ending = np.count_nonzero(breaks[1:] & ~breaks[:-1])  # words that no space follows
        card["characters"][part] = int(lengths[inside].sum() - ending)
        card["outside"][part] = int(np.isin(inside, lacking).sum())
        card["spelling"][part] = float(nats[inside].sum())
    names = ["vocabulary.json", *(f"{part}.npy" for part in borders)]
    contents = {name: (folder / name).read_bytes() for name in names}
    return make_card(
        corpus.folder,
        corpus.split,
        {part: border.stop - border.start for part, border in borders.items()},
        checksum.hexdigest(),
        symbols=corpus.symbols,
        encoding=corpus.encoding,
        tokens=corpus.cut_by,
        vocabulary=len(vocabulary),
        unknown=dict.fromkeys(borders, 0),
        crlf=tally["crlf"],
        not_utf8=tally["not_utf8"],
        **card,
        files={
            name: Sum(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in contents.items()
        },
        raw=raw,
    )


def scan(corpus: Corpus, stretches: list[list[str]], path: Path) -> tuple[dict[str, int], list[int], Counter]:
    """Writes each word as its number in the order of first occurrence -> these numbers, how many words each stretch
    has, and the tally of `reading.pieces`."""
    order, totals, tally = {}, [], Counter()
    size = sum(map(os.path.getsize, sum(stretches, [])))
    with path.open("wb") as file, progress("cutting words", size) as bar:
        for paths in stretches:
            total = 0
            for some in words(blocks(paths, "characters", tally, corpus.encoding), corpus.cut_by):
                numbers = np.array([order.setdefault(word, len(order)) for word in some], np.uint32)
                file.write(numbers)
                total += len(numbers)
                bar.update(tally["bytes"] - bar.n)
            totals.append(total)
    return order, totals, tally


def ranked(corpus: Corpus, occurring: list[str], counts: np.ndarray) -> np.ndarray:
    """The words of the vocabulary, by falling frequency in the training part and then as they first occur; line breaks
    are one of them however rare, where there is room, and UNKNOWN is not."""
    known = counts >= corpus.least
    for word in (BREAK, UNKNOWN):
        if word in occurring:
            known[occurring.index(word)] = word == BREAK
    chosen = np.flatnonzero(known)
    chosen = chosen[np.argsort(-counts[chosen], kind="stable")]
    return chosen[: None if corpus.vocabulary is None else corpus.vocabulary - 1]


class Spelling:
    """What it costs to spell a word that the vocabulary lacks, letter by letter and then an end: -sum_i ln p(c_i),
    p their shares among such words of the training part, with half an occurrence added to each, and to one letter more
    that stands for all others; it is then one of 1,114,112 code points.

    counts  occurrences of each such word in the training part
    """

    def __init__(self, counts: dict[str, int]):
        letters = Counter({"": 0})
        for word, count in counts.items():
            letters[""] += count
            for letter in word:
                letters[letter] += count
        total = sum(letters.values()) + 0.5 * (len(letters) + 1)
        self.nats = {letter: -math.log((count + 0.5) / total) for letter, count in letters.items()}
        self.other = math.log(CODES) - math.log(0.5 / total)

    def of(self, word: str) -> float:
        """In nats."""
        return sum(self.nats.get(letter, self.other) for letter in word) + self.nats[""]
