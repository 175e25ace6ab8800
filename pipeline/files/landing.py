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
    new, old = _beside(directory, root)
    new.mkdir(parents=True)
    try:
        yield new
        directory.parent.mkdir(parents=True, exist_ok=True)
        if directory.exists():
            os.rename(directory, old)
        os.rename(new, directory)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if error.errno and not error.filename:  # of writing
            error.filename = str(directory)
        raise
    finally:
        _restore(directory, old)
        shutil.rmtree(new, ignore_errors=True)


@contextmanager
def lock(directory: Path, root: Path) -> Iterator[None]:
    """Holds the lock of `directory`, a hidden file in its parent `root`; waits for the process that holds it. Removes
    what a killed process has left of a `landing`."""
    root.mkdir(parents=True, exist_ok=True)
    with Lock(root / f".{_label(directory, root)}.lock"):
        new, old = _beside(directory, root)
        _restore(directory, old)
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _restore(directory: Path, old: Path) -> None:
    """After what ended a landing between its two renames."""
    if old.exists() and not directory.exists():
        os.rename(old, directory)


def _label(directory: Path, root: Path) -> str:
    return "-".join(directory.relative_to(root).parts)


def _beside(directory: Path, root: Path) -> tuple[Path, Path]:
    """Where the new folder is built, and where the old one is put aside."""
    return root / f".{_label(directory, root)}.new", root / f".{_label(directory, root)}.old"
