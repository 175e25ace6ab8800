"""The symbols of a corpus and their indices."""

import codecs
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal, NotRequired

import numpy as np
from typing_extensions import TypedDict

from pipeline.corpora.tokens import BREAK, cut_by, written
from pipeline.files.whole import read_json


class Written(TypedDict):
    """What vocabulary.json holds."""

    symbols: Literal["characters", "bytes", "words"]
    vocabulary: list[str] | list[int]
    tokens: NotRequired[Literal["treebank", "spaces", "captions"]]  # how words are cut


class Vocabulary:
    """V symbols in the order of their code points (characters) or values (bytes): symbol i has index i.

    Any other symbol has index V, the unknown symbol; it decodes to U+FFFD.
    """

    def __init__(self, symbols: str, codes: list[int]):
        self.symbols = symbols  # "characters" or "bytes"
        self.codes = codes  # code points or byte values, ascending
        self.dtype = np.dtype("uint8" if len(codes) < 256 else "uint16" if len(codes) < 65536 else "uint32")

    def __len__(self) -> int:
        return len(self.codes)

    def table(self, size: int) -> np.ndarray:
        """Index of each code below `size`; V for codes outside the vocabulary. `dtype` of shape (size,)."""
        table = np.full(size, len(self), self.dtype)
        known = [code for code in self.codes if code < size]
        table[known] = np.arange(len(known))
        return table

    def encode(self, text: str) -> np.ndarray:
        """Indices of the text's characters, or of the bytes of its UTF-8; `dtype` of shape (n,)."""
        if self.symbols == "bytes":
            text = text.encode().decode("latin-1")
        codes = code_points(text)
        return self.table(int(codes.max(initial=0)) + 1)[codes]

    def decode(self, indices) -> str:
        """The text of `indices` (any sequence of whole numbers in 0..V). Bytes that are not UTF-8 become U+FFFD."""
        if self.symbols == "bytes":
            # 0xFF occurs nowhere in UTF-8, so that it decodes to U+FFFD
            values = np.array(self.codes + [0xFF], np.uint8)[np.asarray(indices, np.int64)]
            return values.tobytes().decode(errors="replace")
        codes, unknown = self.codes, len(self)
        return "".join(
            "\N{REPLACEMENT CHARACTER}" if index == unknown else chr(codes[index])
            for index in np.asarray(indices).tolist()
        )

    def to_json(self) -> str:
        symbols = self.codes if self.symbols == "bytes" else [chr(code) for code in self.codes]
        return json.dumps({"symbols": self.symbols, "vocabulary": symbols}) + "\n"

    @property
    def names(self) -> list[str]:
        """Each symbol as people write it: a character; a byte as one where it is ASCII, else as \\xe9."""
        by_value = self.symbols == "bytes"
        return [f"\\x{code:02x}" if by_value and code > 127 else chr(code) for code in self.codes]

    def unknown_in(self, text: str) -> str | None:
        """What of a text the vocabulary lacks, as people write it; None: nothing."""
        known = set(self.codes)
        lacking = [
            one
            for one in dict.fromkeys(text)
            if not known.issuperset(one.encode() if self.symbols == "bytes" else [ord(one)])
        ]
        return repr("".join(lacking)) if lacking else None

    def speller(self) -> Callable[[int], str]:
        """Symbol after symbol -> the text that it adds; of bytes, nothing until a character is whole."""
        if self.symbols != "bytes":
            return self.decode(range(len(self))).__getitem__
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces = [bytes([code]) for code in self.codes]
        return lambda symbol: decoder.decode(pieces[symbol])


class Words:
    """V words by falling frequency, word i has index i; the first one, UNKNOWN, stands for all others.

    tokens  how a text is cut into words: pipeline.corpora.tokens
    """

    symbols = "words"

    def __init__(self, words: list[str], tokens: str):
        self.words, self.tokens = words, tokens
        self.dtype = np.dtype("uint16" if len(words) < 65536 else "uint32")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def names(self) -> list[str]:
        """The words."""
        return self.words

    @cached_property
    def index(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    def cut(self, text: str) -> list[str]:
        return cut_by(self.tokens)(text)

    def encode(self, text: str) -> np.ndarray:
        """Indices of the text's words; `dtype` of shape (n,)."""
        return np.array([self.index.get(word, 0) for word in self.cut(text)], self.dtype)

    def decode(self, indices) -> str:
        """The text of `indices` (any sequence of whole numbers in 0..V-1)."""
        return written(self.words[index] for index in np.asarray(indices).tolist())

    def to_json(self) -> str:
        return json.dumps({"symbols": self.symbols, "tokens": self.tokens, "vocabulary": self.words}) + "\n"

    def unknown_in(self, text: str) -> str | None:
        """What of a text the vocabulary lacks, as people write it; None: nothing."""
        lacking = [word for word in dict.fromkeys(self.cut(text)) if word not in self.index]
        return ", ".join(map(repr, lacking)) if lacking else None

    def speller(self) -> Callable[[int], str]:
        """Word after word -> the text that it adds: a space before each but the first of a line that it began."""
        before = ""

        def spell(index: int) -> str:
            nonlocal before
            last, before = before, self.words[index]
            return before if BREAK in (before, last) else f" {before}"

        return spell


def read_vocabulary(path: Path, mend: str) -> Vocabulary | Words:
    """What vocabulary.json holds. Raises Refusal, with `mend`, where that is none."""
    content = read_json(path, mend, Written)
    symbols, listed = content["symbols"], content["vocabulary"]
    if symbols == "words":
        return Words(listed, content.get("tokens", "treebank"))
    return Vocabulary(symbols, listed if symbols == "bytes" else [ord(character) for character in listed])


def code_points(text: str) -> np.ndarray:
    """Code points of the text's n characters: uint8 if all are ASCII, else uint32; shape (n,)."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
