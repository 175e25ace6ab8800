"""Pictures of a folder of this machine: linked, not copied."""

import os
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from pipeline.corpora.listing import SUFFIXES


def pictures_below(path: Path) -> list[str]:
    """The files below a folder whose names are pictures', or have no ending, by path; hidden ones are left out.
    OSError: a folder cannot be read."""
    found = []
    for place, folders, names in os.walk(path, onerror=_fail, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            ending = os.path.splitext(name)[1].lower()
            file = Path(place, name)
            if not name.startswith(".") and (ending in SUFFIXES or not ending) and file.is_file():
                found.append(file.relative_to(path).as_posix())
    return sorted(found)


def link(path: Path, names: Iterable[str], folder: Path) -> list[str]:
    """Links each file path/name as folder/name; returns the names."""
    linked = []
    for name in tqdm(names, desc="linking", unit=" files", disable=None, delay=1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((path / name).absolute())
        linked.append(name)
    return linked


def _fail(error: OSError) -> None:
    raise error
