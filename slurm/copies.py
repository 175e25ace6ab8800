"""Copies of the code for jobs, which may begin, or begin again, long after it has been edited."""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from pipeline.command.settings import CONF
from pipeline.files.lock import Lock
from pipeline.files.whole import write_json
from pipeline.runs.code import COPIED, code_version

PARTS = ("pipeline", "slurm", "hydra_plugins", "conf")
LEFT_OUT = ("__pycache__",)
YOUNG = 3600.0  # seconds after its last submission in which a copy is kept: its job may not be in the queue yet


def copy_code(folder: Path) -> Path:
    """The copy of today's code below `folder`, called by a hash of what it holds; made where there is none yet."""
    root = CONF.parent
    files = sorted(
        file
        for part in PARTS
        for file in (root / part).rglob("*")
        if file.is_file() and not set(LEFT_OUT) & set(file.relative_to(root).parts)
    )
    held = hashlib.sha256()
    for file in files:
        held.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    copy = folder / held.hexdigest()[:12]
    with _lock(folder):
        if copy.exists():
            with suppress(PermissionError):  # another user's
                os.utime(copy)
            return copy
        partial = folder / f".{copy.name}.{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        for file in files:
            target = partial / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        version = code_version()
        write_json(partial / COPIED, {"commit": version["commit"], "dirty": version["dirty"], "copy": str(copy)})
        partial.rename(copy)
    return copy


def prune(folder: Path, needed: Callable[[Collection[Path]], Collection[Path]]) -> None:
    """Removes copies below `folder` that are not young and, of those, not `needed`."""
    with _lock(folder):
        now = time.time()
        old = {copy for copy in folder.iterdir() if copy.is_dir() and now - copy.stat().st_mtime > YOUNG}
        for copy in old - set(needed(old) if old else ()):
            aside = copy if copy.name.startswith(".") else folder / f".{copy.name}.{os.getpid()}"
            with suppress(OSError):  # another user's
                copy.rename(aside)  # no job finds a part of it
                shutil.rmtree(aside)


def _lock(folder: Path) -> Lock:
    return Lock(folder.with_name(f".{folder.name}.lock"))


if __name__ == "__main__":
    print(copy_code(Path(sys.argv[1]).absolute()))
