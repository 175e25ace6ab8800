"""Words for people: on terminals that lack some characters, and from command lines that are not of this encoding."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HELP = {"-h", "--help"}  # words that ask what a verb does


def replace_what_cannot_be_shown() -> None:
    """Lets standard output and standard error show "?" for each character that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


@contextmanager
def meanwhile(words: str) -> Iterator[None]:
    """Shows `words` on a terminal while something takes seconds, and takes them back. Elsewhere it says nothing."""
    shown = sys.stderr.isatty()
    if shown:
        print(words, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\x1b[K", end="", file=sys.stderr, flush=True)


def give_up_output() -> None:
    """Drops what standard output does not take, as on a full disk: Python would try again at its end, and fail."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def legible(words: str) -> str:
    """Words of the command line with bytes that are no UTF-8 replaced by U+FFFD."""
    return words.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
