"""What is compiled when the project is installed."""

import tomllib

from pipeline.recurrence import forms
from pipeline.runs.code import COMPILED
from tests.conftest import ROOT


def test_every_source_is_compiled_in_every_form_and_noted_by_runs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = {part["name"]: part["sources"] for part in project["tool"]["setuptools"]["ext-modules"]}
    sources = [path.relative_to(ROOT) for path in ROOT.glob("pipeline/*/*.cpp")]
    every = {*forms.SETS["AVX512"], "any"}
    assert built == {
        f"{'.'.join(path.with_suffix('').parts)}_{form}": [str(path)] for path in sources for form in every
    }
    assert {*COMPILED} == {".".join(path.parts[1:]) for path in sources}
