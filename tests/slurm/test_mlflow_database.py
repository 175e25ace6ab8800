"""No database of MLflow's server ever replaces one that has what it lacks."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from slurm.mlflow_database import Database, lacking

SCHEMA = """
CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY);
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, status TEXT, experiment_id INTEGER);
CREATE TABLE metrics (key TEXT, value REAL, step INTEGER, run_uuid TEXT, PRIMARY KEY (key, step, run_uuid, value));
INSERT INTO experiments VALUES (0, 'Default');
"""


def write(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as opened:
        for statement in statements:
            opened.execute(statement)
        opened.commit()


def experiment(number: int, name: str) -> str:
    return f"INSERT INTO experiments VALUES ({number}, '{name}')"


def run(name: str) -> str:
    return f"INSERT INTO runs VALUES ('{name}', 'RUNNING', 0)"


def metric(name: str, step: int) -> str:
    return f"INSERT INTO metrics VALUES ('loss', 0.5, {step}, '{name}')"


def everything(file: Path) -> set[tuple]:
    with closing(sqlite3.connect(file)) as opened:
        return {
            (table, *row)
            for table in ("experiments", "runs", "metrics")
            for row in opened.execute(f"SELECT * FROM {table}")
        }


class Node:
    """A node's own disk, where servers come and go."""

    def __init__(self, disk: Path, shared: Path):
        disk.mkdir()
        shared.mkdir(exist_ok=True)
        self.said: list[str] = []
        self.local, self.shared = disk / "mlflow.db", shared / "mlflow.db"

    def start(self) -> Database:
        database = Database(self.local, self.shared, self.said.append)
        database.begin()
        if not self.local.exists():
            with closing(sqlite3.connect(self.local)) as opened:
                opened.executescript(SCHEMA)
        return database

    def serve(self, *statements: str, crash: bool = False) -> None:
        """A server that lives for these statements; one that crashes has kept what it had before the last of them."""
        database = self.start()
        write(self.local, *(statements[:-1] if crash else statements))
        database.keep(at_once=True)
        if crash:
            write(self.local, statements[-1])
        database.close()

    def asides(self) -> list[Path]:
        return sorted(self.shared.parent.glob("mlflow-*.db"))


@pytest.fixture
def nodes(tmp_path):
    """Two of them, and a database that both have had: with one run, of one metric."""
    nodes = [Node(tmp_path / name, tmp_path / "shared") for name in ("a", "b")]
    for node in nodes:
        node.serve(*(() if node.local.exists() or node.shared.exists() else (run("first"), metric("first", 1))))
    return nodes


def test_a_server_goes_on_where_the_last_one_was_on_whichever_node(nodes):
    a, b = nodes
    a.serve(experiment(1, "of a"))
    b.serve(run("of b"))
    a.serve(metric("of b", 1))
    assert everything(a.local) == everything(a.shared) >= {("experiments", 1, "of a"), ("runs", "of b", "RUNNING", 0)}
    assert not a.asides() and a.said == b.said == []


def test_what_a_crashed_server_had_not_yet_copied_is_there_again(nodes):
    a, _ = nodes
    a.serve(run("copied"), metric("copied", 7), crash=True)
    assert ("metrics", "loss", 0.5, 7, "copied") not in everything(a.shared)
    a.serve()
    assert ("metrics", "loss", 0.5, 7, "copied") in everything(a.shared) and not a.asides()


def test_more_copies_are_not_more_runs(nodes, monkeypatch):
    """A server that tried in vain to copy its database has counted that, and another has gone on meanwhile."""
    a, b = nodes
    with monkeypatch.context() as patch:
        database = a.start()
        patch.setattr(shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
        for _ in range(3):
            database.keep(at_once=True)
        database.close()
    b.serve(run("of b"))
    a.serve()
    assert ("runs", "of b", "RUNNING", 0) in everything(a.shared) == everything(a.local)


@pytest.mark.parametrize(
    "lost, named",
    [(experiment(1, "of a"), "1 experiments"), (run("of a"), "1 runs"), (metric("first", 2), "1 metrics")],
)
def test_what_only_a_crashed_node_has_is_set_aside_when_others_have_gone_on(nodes, lost, named):
    a, b = nodes
    a.serve(run("copied"), lost, crash=True)
    b.serve(experiment(1, "of b"))  # by the number of the one that is lost
    before = everything(a.local)
    a.serve(run("later"))
    [aside] = a.asides()
    assert everything(aside) == before and [
        line for line in a.said if f" has {named} that " in line and f"{aside}" in line
    ]
    assert ("experiments", 1, "of b") in everything(a.shared) == everything(a.local)


def test_a_node_that_has_all_rows_but_old_ones_is_brought_up_to_date(nodes):
    a, b = nodes
    b.serve("UPDATE runs SET status = 'FINISHED'")
    a.serve()
    assert ("runs", "first", "FINISHED", 0) in everything(a.shared) == everything(a.local) and not a.asides()


def test_a_copy_that_somebody_else_has_written_is_not_overwritten(nodes, tmp_path):
    a, b = nodes
    first, second = a.start(), b.start()  # which the lock of the server forbids
    write(a.local, experiment(1, "of a"))
    write(b.local, experiment(1, "of b"))
    first.keep(at_once=True)
    second.keep(at_once=True)
    second.keep(at_once=True)
    [aside] = b.asides()
    assert ("experiments", 1, "of b") in everything(b.shared) and ("experiments", 1, "of a") in everything(aside)
    assert len(b.said) == 1 and "1 experiments" in b.said[0] and f"{aside}" in b.said[0]
    shutil.copyfile(b.shared, tmp_path / "same")
    shutil.move(tmp_path / "same", b.shared)  # put there by hand, with nothing else in it
    second.keep(at_once=True)
    assert b.asides() == [aside] and len(b.said) == 1


def test_it_is_copied_when_it_has_changed_and_tried_again_after_an_error(nodes, monkeypatch):
    a, _ = nodes
    database = a.start()
    database.keep(at_once=True)
    before = a.shared.stat().st_ino
    database.keep(at_once=True)
    assert a.shared.stat().st_ino == before
    write(a.local, run("new"))
    database.keep()  # not due
    assert ("runs", "new", "RUNNING", 0) not in everything(a.shared)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
        database.keep(at_once=True)
    assert a.said == [f"{a.shared}: the database could not be copied there (No space left on device)"]
    database.keep(at_once=True)
    assert ("runs", "new", "RUNNING", 0) in everything(a.shared)


def test_a_damaged_database_is_neither_used_nor_lost(nodes):
    a, b = nodes
    a.local.write_bytes(b"noise" * 1000)
    a.serve()
    assert everything(a.local) == everything(b.local) and [file.read_bytes()[:5] for file in a.asides()] == [b"noise"]
    a.shared.write_bytes(b"noise" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        a.start()
    assert a.shared.read_bytes() == b"noise" * 1000


def test_an_interrupted_write_is_undone_before_databases_are_compared(nodes):
    """A hot journal, as a server that is killed while it deletes leaves one."""
    a, _ = nodes
    a.serve(*(run(f"{number}" * 100) for number in range(300)))
    a.serve(metric("first", 2), metric("first", 3), crash=True)
    before = everything(a.local)
    writer = sqlite3.connect(a.local, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN")
    writer.execute("DELETE FROM runs")
    journal = Path(f"{a.local}-journal")
    saved = a.local.read_bytes(), journal.read_bytes()
    writer.execute("ROLLBACK")
    writer.close()
    a.local.write_bytes(saved[0])
    journal.write_bytes(saved[1])
    a.serve()
    assert everything(a.shared) == before and not a.asides()


def test_lacking_counts_what_is_missing(nodes):
    a, b = nodes
    write(
        a.local,
        run("x"),
        run("y"),
        experiment(5, "e"),
        "CREATE TABLE traces (id TEXT)",
        "INSERT INTO traces VALUES ('t')",
    )
    assert lacking(b.local, a.local) == "1 experiments, 2 runs, 1 traces" and lacking(a.local, b.local) == ""
