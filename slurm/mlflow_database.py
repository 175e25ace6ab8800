"""The sqlite database of MLflow's server: in use on its node's own disk, copied to the disk that all nodes share."""

import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

WAIT = 20.0  # seconds for those who write to it
EVERY = 30.0  # seconds between two copies at least
SHARE = 20  # of the time that copying may take at most is one part in so many


class Database:
    """`local`, which one server alone uses, and `shared`, its copy, from which the next one starts wherever it is.

    A copy counts its makings (sqlite's user_version). Neither file ever replaces one that has what it lacks: that is
    set aside, and told of in a line.

    say  tells people a line
    """

    def __init__(self, local: Path, shared: Path, say: Callable[[str], None]):
        self.local, self.shared, self.say = local, shared, say
        self.part = local.with_name("copy")
        self.watch: sqlite3.Connection | None = None
        self.due = 0.0

    def begin(self) -> None:
        """Makes `local` the newest there is. Raises sqlite3.Error where `shared` is no database."""
        if _filled(self.shared):
            _count(self.shared)
            if self._outdated():
                for file in self.local.parent.glob(f"{self.local.name}*"):  # and what sqlite keeps beside it
                    file.unlink()
                with self.replaced() as part:
                    shutil.copyfile(self.shared, part)
        self.seen = _stamp(self.shared)

    @contextmanager
    def replaced(self) -> Iterator[Path]:
        """A copy of `local`, or no file yet, which then takes its place, unless the block ends with an error."""
        self.part.unlink(missing_ok=True)
        if _filled(self.local):
            shutil.copyfile(self.local, self.part)
        yield self.part
        os.replace(self.part, self.local)

    def _outdated(self) -> bool:
        """Whether `shared` must replace `local`, which is set aside if need be."""
        if not _filled(self.local):
            return True
        try:
            with closing(sqlite3.connect(self.local)) as opened:  # which undoes what a crash has left half done
                opened.execute("SELECT name FROM sqlite_master").fetchall()
            if not lacking(self.local, self.shared) and _count(self.local) >= _count(self.shared):
                return False
            lost = lacking(self.shared, self.local)
        except sqlite3.Error as error:
            lost = f"something that cannot be read ({error})"
        if lost:
            aside = self._aside()
            shutil.copyfile(self.local, aside)
            self.say(f"{self.local} has {lost} that {self.shared} lacks: kept as {aside}")
        return True

    def keep(self, at_once: bool = False) -> None:
        """Copies `local` to `shared` if it has changed and that is due, or has to be `at_once`. What goes wrong is
        said, and tried again next time."""
        if not at_once and time.monotonic() < self.due:
            return
        began = time.monotonic()
        try:
            self._copy()
        except (OSError, sqlite3.Error) as error:
            self.say(f"{self.shared}: the database could not be copied there ({error})")
        self.due = time.monotonic() + max(EVERY, SHARE * (time.monotonic() - began))

    def _copy(self) -> None:
        if self.watch is None:
            if not _filled(self.local):
                return
            self.watch, self.version = sqlite3.connect(self.local, timeout=WAIT), None
        [version] = self.watch.execute("PRAGMA data_version").fetchone()  # changes with what others write
        if version == self.version and _stamp(self.shared) == self.seen:
            return
        with self.watch:
            self.watch.execute(f"PRAGMA user_version = {_number(self.watch) + 1}")
        self.part.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.part)) as copied:
            self.watch.backup(copied)
        new = self.shared.with_name(f".{self.shared.name}.new")
        shutil.copyfile(self.part, new)
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        if _stamp(self.shared) != self.seen and _filled(self.shared):
            self._make_way()
        os.replace(new, self.shared)
        self.part.unlink()
        self.seen, self.version = _stamp(self.shared), version

    def _make_way(self) -> None:
        """Somebody else has written `shared`."""
        try:
            lost = lacking(self.part, self.shared)
        except sqlite3.Error as error:
            lost = f"something that cannot be read ({error})"
        if lost:
            aside = self._aside()
            os.replace(self.shared, aside)
            self.say(f"{self.shared} had been written by somebody else, with {lost} that is not here: kept as {aside}")

    def _aside(self) -> Path:
        name = f"{self.shared.stem}-{socket.gethostname()}-{time.strftime('%Y-%m-%d-%H%M%S')}{self.shared.suffix}"
        return self.shared.with_name(name)

    def close(self) -> None:
        if self.watch is not None:
            self.watch.close()


def lacking(ours: Path, theirs: Path) -> str:
    """What `theirs` has and `ours` lacks, as "2 experiments, 14 runs"; empty where that is nothing. A row is known by
    its keys, not by what may be changed about it. Nobody may be writing to either."""
    with closing(sqlite3.connect(_immutable(ours), uri=True)) as opened:
        opened.execute("ATTACH ? AS theirs", (_immutable(theirs),))
        here, found = _tables(opened, "main"), []
        for table in _tables(opened, "theirs"):
            keys = _keys(opened, table)
            rows = f'SELECT {keys} FROM theirs."{table}"'
            if table in here:
                rows += f' EXCEPT SELECT {keys} FROM main."{table}"'
            [count] = opened.execute(f"SELECT count(*) FROM ({rows})").fetchone()
            if count:
                found.append(f"{count} {table}")
    return ", ".join(sorted(found, key=lambda line: line.split()[1] not in ("experiments", "runs")))


def _tables(opened: sqlite3.Connection, of: str) -> list[str]:
    names = f"SELECT name FROM {of}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return [name for (name,) in opened.execute(names) if name != "alembic_version"]


def _keys(opened: sqlite3.Connection, table: str) -> str:
    """The columns that tell one row from another, and those that no two rows have the same in: two databases may give
    one number to experiments of different names."""
    columns = [(name, key) for _, name, _, _, _, key in opened.execute(f'PRAGMA theirs.table_info("{table}")')]
    keys = [name for name, key in columns if key]
    for _, index, unique, *_ in opened.execute(f'PRAGMA theirs.index_list("{table}")').fetchall():
        if unique:
            keys += [name for _, _, name in opened.execute(f'PRAGMA theirs.index_info("{index}")') if name]
    return ", ".join(f'"{name}"' for name in dict.fromkeys(keys or [name for name, _ in columns]))


def _immutable(file: Path) -> str:
    """For sqlite: `file`, read without locks, which a network disk need not offer."""
    return f"{file.as_uri()}?mode=ro&immutable=1"


def _number(opened: sqlite3.Connection) -> int:
    return opened.execute("PRAGMA user_version").fetchone()[0]


def _count(file: Path) -> int:
    """How often the database had been copied when it was. Raises sqlite3.Error where it is none."""
    with closing(sqlite3.connect(_immutable(file), uri=True)) as opened:
        opened.execute("SELECT name FROM sqlite_master").fetchall()
        return _number(opened)


def _filled(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes when another file takes its place."""
    if not file.exists():
        return None
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
