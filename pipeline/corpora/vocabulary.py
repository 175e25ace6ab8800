"""The symbols of a corpus and their indices."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from typing_extensions import TypedDict

from pipeline.files.whole import read_json


class Written(TypedDict):
    """What vocabulary.json holds."""

    symbols: Literal["characters", "bytes"]
    vocabulary: list[str] | list[int]


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

    @classmethod
    def read(cls, path: Path, mend: str) -> "Vocabulary":
        """The vocabulary that vocabulary.json holds. Raises Refusal, with `mend`, where it holds none."""
        content = read_json(path, mend, Written)
        symbols, listed = content["symbols"], content["vocabulary"]
        return cls(symbols, listed if symbols == "bytes" else [ord(character) for character in listed])


def code_points(text: str) -> np.ndarray:
    """Code points of the text's n characters: uint8 if all are ASCII, else uint32; shape (n,)."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
