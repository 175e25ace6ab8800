"""Directories that appear whole or not at all, made by one process at a time."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.files.lock import Lock


@contextmanager
def landing(directory: Path, root: Path) -> Iterator[Path]:
    """Yields an empty folder that replaces `directory` if the block ends without error; the old one stays until then.

    `root` is a parent of `directory`: the folder being built lies there under a hidden name. Needs `lock`.
    """
    label = "-".join(directory.relative_to(root).parts)
    new, old = root / f".{label}.new", root / f".{label}.old"
    if old.exists() and not directory.exists():  # a process was killed between the two renames below
        os.rename(old, directory)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        directory.parent.mkdir(parents=True, exist_ok=True)
        if directory.exists():
            os.rename(directory, old)
        os.rename(new, directory)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextmanager
def lock(directory: Path, root: Path) -> Iterator[None]:
    """Holds the lock of `directory`, a hidden file in its parent `root`; waits for the process that holds it."""
    root.mkdir(parents=True, exist_ok=True)
    with Lock(root / f".{'-'.join(directory.relative_to(root).parts)}.lock"):
        yield
