"""The code that a run is trained by, and whether it is another one today."""

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

ROOMS = ("cells", "recurrence", "models", "learning", "datasets", "encoders")  # whose code decides what training gives
COMPILED = {  # source -> the module that calls it
    "recurrence.steps.cpp": "recurrence.native",
    "recurrence.masks.cpp": "recurrence.masks",
    "models.kalman.cpp": "models.kalman_compiled",
    "models.echo_state.cpp": "models.echo_state_compiled",
    "models.hmm.cpp": "models.hmm_compiled",
}
PACKAGE = "pipeline"
PIPELINE = Path(__file__).parents[1]
BUILDER = "runs.building"  # what makes of a configuration what learns
NAMING = ("_target_", "rule", "dataset")  # settings that name classes and functions of modules
COPIED = "copied.json"  # beside a copy of the package, which a job runs: what it is a copy of


def code_version() -> dict:
    """{"commit", "dirty"}: of the checkout that this code lies in, or was copied from for a job, None outside one; and,
    of such a copy, "copy": where it is."""
    return _checkout(PIPELINE.parent)


def sources(cfg: DictConfig) -> dict[str, str | None]:
    """What `digest` says of each module of ROOMS that this process has imported and that the run of `cfg` leads to. A
    process that has trained other runs before has imported theirs as well."""
    named = list(_named(OmegaConf.to_container(cfg, resolve=True)))
    found = loaded()
    if all(name.startswith((f"{PACKAGE}.", "torch.")) for name in named):  # else nobody knows what they import
        leads_to = reached([BUILDER, *(name.removeprefix(f"{PACKAGE}.").rpartition(".")[0] for name in named)])
        found = [module for module in found if COMPILED.get(module, module) in leads_to]
    return {module: digest(module) for module in found}


def _named(part: object) -> Iterator[str]:
    """Classes and functions that a configuration names, but for what looks at finished runs."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key in NAMING and isinstance(value, str):
                yield value
            elif key not in ("probes", "study"):
                yield from _named(value)
    elif isinstance(part, list):
        for one in part:
            yield from _named(one)


def reached(modules: Iterable[str]) -> set[str]:
    """These modules of the package and all of it that they import, at once or when something of them is called."""
    found, left = set(), list(modules)
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += _imported(module)
    return found


@cache
def _imported(module: str) -> list[str]:
    path, found = _file(module), []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else ():
        if isinstance(node, ast.ImportFrom):
            found += [node.module or "", *(f"{node.module}.{one.name}" for one in node.names)]
        elif isinstance(node, ast.Import):
            found += [one.name for one in node.names]
    own = (name.removeprefix(f"{PACKAGE}.") for name in found if name.startswith(f"{PACKAGE}."))
    return [name for name in own if _file(name).exists()]


def _file(module: str) -> Path:
    """Of "models.recurrent", or of what it compiles."""
    if module in COMPILED:
        room, _, name = module.partition(".")
        return PIPELINE / room / name
    return PIPELINE / f"{module.replace('.', '/')}.py"


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
    path = _file(module)
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
