"""Addresses of MLflow's pages, since its first page shows no runs: `python -m pipeline.runs.links mlflow.db
http://127.0.0.1:5000`."""

import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from pipeline.runs.relocation import relocate

LOCAL = "http://127.0.0.1:5000"  # where `make ui` shows an sqlite database
KIND = "workflowType=machine_learning"  # the other kind of page is for traces of language models, and shows no runs


def links(database: Path, address: str) -> list[tuple[str, str]]:
    """(study, address of its list of runs) for each experiment of an sqlite database of MLflow, the latest first; none
    where there is no database."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as opened:
        found = opened.execute(
            "SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active' AND experiment_id != 0 "
            "ORDER BY last_update_time DESC"
        ).fetchall()
    return [(name, f"{address}/#/experiments/{number}/runs?{KIND}") for name, number in found]


def link(facts: Mapping) -> str | None:
    """The page of a run, of whose facts (run.json) MLflow has a record; of an sqlite database as `make ui` shows it."""
    for address, run_id in (facts.get("mlflow_records") or {}).items():
        if address.startswith(("http", "sqlite")):
            return f"{address.rstrip('/') if address.startswith('http') else LOCAL}/#/runs/{run_id}"
    return None


def main() -> None:
    database, address = sys.argv[1:]
    if Path(database).exists():
        relocate(Path(database).absolute())  # or the pages would have no artifacts where the folder has been renamed
    found = links(Path(database).absolute(), address)
    width = max((len(name) for name, _ in found), default=0)
    for name, link in found:
        print(f"{name:{width}}  {link}", flush=True)
    if not found:
        print(f"no study has been trained yet; later: {address}/#/experiments", flush=True)


if __name__ == "__main__":
    main()
