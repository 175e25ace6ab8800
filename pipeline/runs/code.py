"""The code that a run is trained by, and whether it is another one today."""

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOMS = ("cells", "recurrence", "models", "learning", "datasets")  # whose code decides what comes out of training
COMPILED = {  # source -> the module that calls it
    "recurrence.steps.cpp": "recurrence.native",
    "recurrence.masks.cpp": "recurrence.masks",
    "models.kalman.cpp": "models.kalman_compiled",
    "models.echo_state.cpp": "models.echo_state_compiled",
    "models.hmm.cpp": "models.hmm_compiled",
}
PACKAGE = "pipeline"
COPIED = "copied.json"  # beside a copy of the package, which a job runs: what it is a copy of


def code_version() -> dict:
    """{"commit", "dirty", "sources"}: the commit of the checkout that this code lies in, or was copied from for a job,
    None outside one, and of each loaded module of ROOMS what `digest` says of it; and, of such a copy, "copy": where it
    is."""
    return {**_checkout(Path(__file__).parents[2]), "sources": {name: digest(name) for name in loaded()}}


def _checkout(root: Path) -> dict:
    if (root / COPIED).exists():
        return json.loads((root / COPIED).read_text())

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit, dirty = git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        commit, dirty = None, None
    return {"commit": commit, "dirty": dirty}


def loaded() -> list[str]:
    """The modules of ROOMS that this process has imported, as "models.recurrent", and what they compile."""
    prefixes = tuple(f"{PACKAGE}.{room}." for room in ROOMS)
    found = {name.removeprefix(f"{PACKAGE}.") for name in list(sys.modules) if name.startswith(prefixes)}
    return sorted(found | {one for one, module in COMPILED.items() if module in found})


@cache
def digest(module: str) -> str | None:
    """Eight digits that change with what a module does, and not with its comments, docstrings and line breaks; None
    where there is no such module."""
    room, _, name = module.partition(".")
    path = Path(__file__).parents[1] / room / name
    path = path if module in COMPILED else path.with_name(name.replace(".", "/") + ".py")
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    return hashlib.sha256((text if module in COMPILED else meaning(text)).encode()).hexdigest()[:8]


def meaning(text: str) -> str:
    """A module's source without comments, docstrings and line breaks."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            del body[0]
    return ast.unparse(tree)


def changed(facts: Mapping) -> list[str]:
    """The modules that the run of these facts (run.json) was trained by and that do something else today; none of a run
    from before they were noted."""
    sources = (facts.get("code") or {}).get("sources") or {}
    return [module for module, was in sources.items() if digest(module) != was]


def starts_over(fresh: bool | str, facts: Mapping) -> bool:
    """Whether what a run did before is forgotten: `fresh` is true, or "code" and its code is another one today."""
    return bool(changed(facts)) if fresh == "code" else bool(fresh)
