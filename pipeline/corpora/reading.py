"""The text of many files as a stream of short strings, in bounded memory."""

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator

PIECE = 1 << 18  # bytes read at once
BLOCK = 1 << 18  # characters joined at least, so that many small files cost no more than one large


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


def pieces(path: str, symbols: str, tally: Counter) -> Iterator[str]:
    """The symbols of one file, as strings of up to PIECE + 1 characters. Adds to tally: crlf, not_utf8, bytes.

    Characters: UTF-8, a byte order mark at the start dropped, CRLF to LF, bytes that are not UTF-8 read as Latin-1.
    Bytes: each byte as the character of that code point, nothing changed.
    """
    decoder = Decoder("pipeline.latin1")
    first = True  # nothing was decoded so far
    held = ""  # a CR at the end of a piece: the next may begin with LF
    with open(path, "rb", buffering=0) as file:
        while True:
            data = file.read(PIECE)
            last = len(data) < PIECE
            tally["bytes"] += len(data)
            if symbols == "bytes":
                text = data.decode("latin-1")
            else:
                before = latin1.count
                text = decoder.decode(data, final=last)
                if first and text:
                    first, text = False, text.removeprefix("\ufeff")
                text = held + text
                tally["not_utf8"] += latin1.count - before
                held = "\r" if text.endswith("\r") and not last else ""
                text = text[: len(text) - len(held)]
                if "\r" in text:
                    tally["crlf"] += text.count("\r\n")
                    text = text.replace("\r\n", "\n")
            if text:
                yield text
            if last:
                return


def blocks(paths: Iterable[str], symbols: str, tally: Counter) -> Iterator[str]:
    """The symbols of all files one after the other, in blocks; ASCII apart, for it is faster to encode."""
    waiting, size = [], 0
    for path in paths:
        for piece in pieces(path, symbols, tally):
            if waiting and (size >= BLOCK or piece.isascii() != waiting[0].isascii()):
                yield "".join(waiting)
                waiting, size = [], 0
            waiting.append(piece)
            size += len(piece)
    if waiting:
        yield "".join(waiting)
