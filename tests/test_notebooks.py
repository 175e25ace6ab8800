"""The notebooks run, as they stand, from the first to the last, and show what they say."""

import re

import nbformat
import pytest

from tests.notebooks import FOLDER, NAMES, executed

SMALL = 200_000  # bytes of a notebook with its figures


def printed(notebook) -> str:
    """What its cells print and answer."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.data.get("text/plain", "") for output in outputs)


def test_they_run_one_after_the_other_and_find_what_the_first_has_trained(tmp_path):
    first, own, hidden = (executed(name, tmp_path) for name in NAMES)
    nothing, learned = re.search(r"([\d.]+) nats at first, ([\d.]+) now", printed(first)).groups()
    assert float(learned) < 0.5 * float(nothing)
    ends = dict(re.findall(r"adding-(\w+)-\S+  finished: validation (\S+)", printed(own)))
    assert float(ends["mgu"]) < 0.1 * float(ends["rnn"])
    always, untrained, trained = map(float, re.findall(r"([\d.]+)% right", printed(hidden)))
    assert trained > max(always, untrained) + 3
    runs = [path.name for path in (tmp_path / "laboratory" / "runs" / "single").glob("python-*")]
    assert len(runs) == 2  # the one of the first, and the untrained one


@pytest.mark.parametrize("name", NAMES)
def test_they_stand_here_with_their_figures_and_nothing_of_the_machine_that_made_them(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "python -m tests.notebooks executes them"
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert not re.search(r"/(home|root|tmp|usr|Users)/", printed(notebook))
    assert (FOLDER / f"{name}.ipynb").stat().st_size < SMALL


def test_these_are_all():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
