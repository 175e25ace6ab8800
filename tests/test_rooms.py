"""The structure: imports go down only, from room to room, and in no circle from file to file."""

import ast
import graphlib
import re

from tests.conftest import ROOT

# From the bottom up. A room may import from itself and from those before it; the verbs, files of pipeline/ itself, from
# all.
ROOMS = (
    "command",
    "files",
    "corpora",
    "decoding",
    "encoders",
    "datasets",
    "cells",
    "recurrence",
    "models",
    "learning",
    "exhibits",
    "probes",
    "runs",
)
# Above the verbs: what starts them from a shell, completes their words there, and calls them from Python.
ABOVE = {"pipeline.lab", "pipeline.completion", "pipeline.api"}
PIPELINE = ROOT / "pipeline"
FILES = sorted(path for path in PIPELINE.rglob("*.py"))


def name_of(path) -> str:
    """ "pipeline.models.hmm"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imports(path, at_run_time: bool = False) -> set[str]:
    """The modules of the pipeline that a file imports, late ones too.

    at_run_time  without those for type checkers alone
    """
    tree, found = ast.parse(path.read_text()), set()
    skipped = set()
    for node in ast.walk(tree):
        if at_run_time and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(id(inner) for inner in ast.walk(node))
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    modules = set()
    for name in found:
        while name.startswith("pipeline") and name not in MODULES:
            name = name.rpartition(".")[0]
        if name in MODULES and name != "pipeline":
            modules.add(name)
    return modules


def room(module: str) -> str | None:
    """The room of a module; None for a verb."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PIPELINE / parts[1]).is_dir() else None


def test_every_folder_is_a_room_and_says_what_it_is():
    folders = {path.parent for path in FILES} - {PIPELINE}
    assert {folder.name for folder in folders} == set(ROOMS)
    for folder in folders:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_verbs_alone_stand_at_the_top():
    verbs = {path.stem for path in PIPELINE.glob("*.py")} - {"__init__"}
    above = {module.removeprefix("pipeline.") for module in ABOVE}
    assert verbs == {"fetch", "prepare", "train", "evaluate", "report", "sample", "debug"} | above


def climbing() -> list[str]:
    rank = {name: place for place, name in enumerate(ROOMS)} | {None: len(ROOMS)}
    return [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        if module != "pipeline" and module not in ABOVE
        for other in sorted(imports(path, at_run_time=True))
        if rank[room(other)] > rank[room(module)] or room(other) is None
    ]


def test_imports_go_down():
    assert not climbing()


def test_no_files_import_one_another_in_a_circle():
    graph = {module: imports(path, at_run_time=True) - {module} for module, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_kinds_of_spaces_and_networks_are_asked_for_in_models_and_data_only():
    kinds = r"isinstance\([^)]*\b(Symbols|Reals|Bits|RecurrentNetwork|SequenceModel|StatisticsModel)\b"
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in FILES
        if room(name_of(path)) not in ("models", "datasets")
        for line in path.read_text().splitlines()
        if re.search(kinds, line)
    ]
    assert not found


def test_a_climbing_import_and_a_circle_are_noticed(tmp_path):
    """The tests above, tried on a structure that has both faults."""
    file = tmp_path / "low.py"
    file.write_text("def late():\n    from pipeline.runs import session\n")
    assert imports(file) == {"pipeline.runs.session"}
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline.runs.session import train_run\n"
    )
    assert imports(file) == {"pipeline.runs.session"} and not imports(file, at_run_time=True)
