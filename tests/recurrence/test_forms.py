"""What is compiled when the project is installed."""

import tomllib

from pipeline.recurrence import forms
from pipeline.runs.code import COMPILED, ROOMS
from tests.conftest import ROOT


def test_every_source_is_compiled_in_every_form_installed_and_noted_by_runs():
    """Without its source an installed package would count the code of every run as changed."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    built, data = {part["name"]: part["sources"] for part in setup["ext-modules"]}, setup["package-data"]
    sources = [path.relative_to(ROOT) for path in (ROOT / "pipeline").rglob("*.cpp")]
    every = {*forms.SETS["AVX512"], "any"}
    assert built == {
        f"{'.'.join(path.with_suffix('').parts)}_{form}": [str(path)] for path in sources for form in every
    }
    assert {path.parent.name for path in sources} <= {*ROOMS}
    assert all(any(path.match(one) for one in data[".".join(path.parts[:-1])]) for path in sources)
    assert {*COMPILED} == {".".join(path.parts[1:]) for path in sources}
