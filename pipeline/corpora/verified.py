"""Prepared files held against the checksums of their card: by whoever opens them first, and again once they changed.

What was found whole is noted in a hidden file, by size, time stamps and inode, so that it is not read a second time.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from typing_extensions import TypedDict

from pipeline.command.refusal import Refusal
from pipeline.files.whole import read_json, write_json


class Sum(TypedDict):
    """What a card says of a file: its size in bytes, and its sha256 in hexadecimal."""

    bytes: int
    sha256: str


def sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(directory: Path, sums: Mapping[str, Sum], root: Path, mend: str) -> None:
    """Raises Refusal, with `mend`, where a file of `directory` is missing or not what its sum says.

    sums  file name -> size and sha256
    root  a parent of `directory`: the note of what was found whole lies there, if it can be written
    """
    note = root / f".{'-'.join(directory.relative_to(root).parts)}.verified"
    found = {name: [sums[name]["sha256"], *_stamp(directory / name, mend)] for name in sums}
    if found == _noted(note):
        return
    for name, expected in sums.items():
        path, size = directory / name, found[name][1]
        if size != expected["bytes"]:
            raise Refusal(f"{path} is damaged (it has {size:,} bytes, not {expected['bytes']:,}): {mend}")
        if sha256(path) != expected["sha256"]:
            raise Refusal(f"{path} is damaged (its sha256 is not the one on its card): {mend}")
    with contextlib.suppress(OSError):  # somebody else's folder: it is read again next time
        write_json(note, found)


def _stamp(path: Path, mend: str) -> list[int]:
    """Size in bytes, both time stamps in ns, inode."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise Refusal(f"{path} is missing: {mend}") from None
    if not stat.S_ISREG(found.st_mode):
        raise Refusal(f"{path} is no file: {mend}")
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _noted(note: Path) -> dict | None:
    with contextlib.suppress(OSError, Refusal):
        return read_json(note, "")
    return None
