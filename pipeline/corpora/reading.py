"""The text of many files as a stream of short strings, in bounded memory."""

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from tqdm import tqdm

from pipeline.corpora.corpus import Corpus, Unreadable
from pipeline.corpora.encodings import HEAD, marked, packed
from pipeline.corpora.tokens import BREAK, words, written

PIECE = 1 << 18  # bytes read at once
BLOCK = 1 << 18  # characters joined at least, so that many small files cost no more than one large
# A file with more of these than a text has by accident is none: the share, and the number below which there is no share
# to speak of.
CONTROLS, FEWEST_CONTROLS = 0.01, 4  # of its characters
FOREIGN, FEWEST_FOREIGN = 0.1, 8  # of its bytes
MENDS = "read its bytes as they are (data.symbols=bytes), or leave the file out"


class Latin1:
    """Decoding error handler: bytes that are not UTF-8 are read as Latin-1, and counted."""

    count = 0

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        self.count += error.end - error.start
        return error.object[error.start : error.end].decode("latin-1"), error.end


latin1 = Latin1()
codecs.register_error("pipeline.latin1", latin1)
Decoder = codecs.getincrementaldecoder("utf-8")  # "utf-8-sig" loses a mark that the end of the file cuts


def pieces(path: str, symbols: str, tally: Counter, encoding: str | None = None) -> Iterator[str]:
    """The symbols of one file, as strings of up to PIECE + 1 characters. Adds to tally: crlf, not_utf8, bytes.

    Characters: UTF-16 or UTF-32 where a byte order mark says so, else UTF-8, and bytes that are not read as Latin-1; or
    the `encoding` that is named. A byte order mark at the start is dropped, CRLF becomes LF.
    Bytes: each byte as the character of that code point, nothing changed.
    Unreadable: the file is packed, is not in its encoding, or has too many bytes or characters that no text has.
    """
    with open(path, "rb", buffering=0) as file:
        if symbols == "bytes":
            while data := file.read(PIECE):
                tally["bytes"] += len(data)
                yield data.decode("latin-1")
            return
        head = file.read(HEAD)
        file.seek(0)
        if packed(head):
            raise Unreadable(path, f" is {packed(head)}: unpack it and fetch it again, {MENDS}")
        encoding = encoding or marked(head)
        decoder = codecs.getincrementaldecoder(encoding)() if encoding else Decoder("pipeline.latin1")
        foreign_before, size, characters, controls = latin1.count, 0, 0, 0
        first = True  # nothing was decoded so far
        held = ""  # a CR at the end of a piece: the next may begin with LF
        last = False
        while not last:
            data = file.read(PIECE)
            last = len(data) < PIECE
            size += len(data)
            tally["bytes"] += len(data)
            try:
                text = decoder.decode(data, final=last)
                controls += count_controls(text)
            except UnicodeError as error:
                at = f" at byte {size - len(error.object) + error.start:,}" * isinstance(error, UnicodeDecodeError)
                raise Unreadable(path, f" is not {encoding}{at}: name its encoding (data.encoding), {MENDS}") from error
            characters += len(text)
            if first and text:
                first, text = False, text.removeprefix("\ufeff")
            text = held + text
            held = "\r" if text.endswith("\r") and not last else ""
            text = text[: len(text) - len(held)]
            if "\r" in text:
                tally["crlf"] += text.count("\r\n")
                text = text.replace("\r\n", "\n")
            if text:
                yield text
    foreign = latin1.count - foreign_before
    tally["not_utf8"] += foreign
    if controls >= FEWEST_CONTROLS and controls > CONTROLS * characters:
        raise Unreadable(
            path,
            f" is no text: {controls / characters:.0%} of its characters are NULs or other control characters: "
            f"name its encoding (data.encoding=utf-16-le), {MENDS}",
        )
    if foreign >= FEWEST_FOREIGN and foreign > FOREIGN * size:
        raise Unreadable(
            path,
            f" is not UTF-8: {foreign / size:.0%} of its bytes cannot be decoded: name its encoding "
            f"(data.encoding=cp1252), {MENDS}",
        )


def count_controls(text: str) -> int:
    """How many characters are ASCII's controls, but for those that texts and terminals use: BS, TAB, LF, VT, FF, CR,
    ESC. UnicodeError: there is half a surrogate pair."""
    codes = np.frombuffer(text.encode(), np.uint8)
    return int(np.count_nonzero((codes < 8) | (codes - 14 < 13) | (codes - 28 < 4) | (codes == 127)))  # as unsigned


def blocks(paths: Iterable[str], symbols: str, tally: Counter, encoding: str | None = None) -> Iterator[str]:
    """The symbols of all files one after the other, in blocks; ASCII apart, for it is faster to encode."""
    waiting, size = [], 0
    for path in paths:
        for piece in pieces(path, symbols, tally, encoding):
            if waiting and (size >= BLOCK or piece.isascii() != waiting[0].isascii()):
                yield "".join(waiting)
                waiting, size = [], 0
            waiting.append(piece)
            size += len(piece)
    if waiting:
        yield "".join(waiting)


def symbols_of(paths: Iterable[str], corpus: Corpus, tally: Counter) -> Iterator[str]:
    """As `blocks`: the symbols of these files as the corpus has them, characters of its tokens where it is cut into
    some."""
    found = blocks(paths, corpus.symbols, tally, corpus.encoding)
    if corpus.cut_by is None:
        return found
    # A piece that ends within a line goes on after a space.
    return (written(some) + " " * (some[-1:] != [BREAK]) for some in words(found, corpus.cut_by))


def progress(description: str, size: int) -> tqdm:
    return tqdm(desc=description, total=size, unit="B", unit_scale=True, disable=None)
