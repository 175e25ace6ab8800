"""MLflow notes in its database where each artifact is, by its whole path. Here a folder that has been moved, renamed or
copied with its database keeps them."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

NOTED = {  # the columns of MLflow's tables that say where artifacts are
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
LOCKED = 20.0  # seconds to wait for another writer, as MLflow does


def relocate(database: Path, *folders: Path) -> dict[str, str]:
    """Writes to an sqlite database of MLflow where artifacts are now, in one transaction: location that was noted ->
    the one that is. Artifacts are looked for in `folders` and beside the database, by the folders of their runs: those
    that have all that the noted location still has, and some.

    Raises sqlite3.Error where the database cannot be read or written.
    """
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=LOCKED)) as opened:
        moved = {}
        for (noted,) in opened.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall():
            asked = "SELECT run_uuid FROM runs JOIN experiments USING (experiment_id) WHERE artifact_location = ?"
            found = _found(database, noted, [run for (run,) in opened.execute(asked, (noted,))], folders)
            if found is not None:
                moved[noted] = found.as_uri() if "://" in noted else str(found)
    if not moved:
        return {}
    with closing(sqlite3.connect(database, timeout=LOCKED, isolation_level=None)) as opened:
        opened.execute("BEGIN IMMEDIATE")
        for table, wanted in NOTED.items():
            there = {column[1] for column in opened.execute(f"PRAGMA table_info({table})")}
            for column in there.intersection(wanted):
                for old, new in moved.items():
                    opened.execute(
                        f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1) "
                        f"WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'",
                        {"old": old, "new": new},
                    )
        opened.execute("COMMIT")
    return moved


def _found(database: Path, noted: str, runs: list[str], folders: tuple[Path, ...]) -> Path | None:
    """Where the artifacts of these runs are, if that is another place than the one that is noted; None where it is not,
    or is no folder of this machine."""
    parts = urlsplit(noted)
    if parts.scheme not in ("", "file"):
        return None
    before = Path(url2pathname(parts.path))
    still = {run for run in runs if (before / run).is_dir()}
    for folder in _candidates(database, before, folders):
        there = {run for run in runs if (folder / run).is_dir()}
        if there and there >= still and not (before.exists() and os.path.samefile(before, folder)):
            return folder
    return None


def _candidates(database: Path, before: Path, folders: tuple[Path, ...]) -> Iterator[Path]:
    """The named folders, and those beside the database that are called as the end of the path was."""
    yield from (folder.absolute() for folder in folders)
    names = before.parts[1:]
    for count in range(1, len(names) + 1):
        yield database.absolute().parent.joinpath(*names[-count:])
