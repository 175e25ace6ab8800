"""Executes the notebooks of docs/notebooks and keeps what comes out in them: python -m tests.notebooks."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NAMES = ("first_steps", "own_cell", "hidden_unit")  # in the order in which they are read


def executed(name: str, folder: Path) -> nbformat.NotebookNode:
    """The notebook docs/notebooks/NAME.ipynb, executed by a kernel of its own, whose temporary files and working
    directory are in `folder`. Raises CellExecutionError for a cell that fails."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    with temporary_files_in(folder):
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=300,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
        ).execute()
    notebook.metadata.language_info = {"name": "python"}  # not the version that executed it
    return notebook


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            nbformat.write(executed(name, Path(folder)), FOLDER / f"{name}.ipynb")
