"""Words for people: on terminals that lack some characters, and from command lines that are not of this encoding."""

import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HELP = {"-h", "--help"}  # words that ask what a verb does


def replace_what_cannot_be_shown() -> None:
    """Lets standard output and standard error show "?" for each character that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def in_columns(rows: Sequence[Sequence[str]], most: int | None = None) -> list[str]:
    """Lines of a table, its first column to the left, the others to the right. Columns that lines of `most` characters
    (None: of the terminal, if standard output is one) have no room for stand below, beside the first column again."""
    if most is None:
        most = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    widths = [max(map(len, column)) for column in zip(*rows)]
    tables, width = [[]], widths[0]
    for k in range(1, len(widths)):
        if tables[-1] and width + 2 + widths[k] > most:
            tables.append([])
            width = widths[0]
        tables[-1].append(k)
        width += 2 + widths[k]
    lines = []
    for columns in tables:
        lines += [""] * bool(lines)
        lines += ["  ".join([row[0].ljust(widths[0]), *(row[k].rjust(widths[k]) for k in columns)]) for row in rows]
    return lines


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
