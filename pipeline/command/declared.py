"""The settings of a class or function, read from its source: importing it would import torch, which takes seconds.

What is read are the annotations of its parameters, or of its fields where it is made without an `__init__` of its own.
Where it hands on `**more`, those of the classes that it is derived from too.
"""

import ast
import typing
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import annotated_types

from pipeline.command import setting
from pipeline.command.refusal import Refusal

NAMES = vars(typing) | vars(annotated_types) | vars(setting)  # that an annotation of a setting is written with


class Declared(NamedTuple):
    """settings  name -> annotation; Any where it says nothing of values
    open      whether there may be others
    needed    those that have no default
    """

    settings: dict[str, Any]
    open: bool = False
    needed: frozenset[str] = frozenset()


class Choice:
    """The annotation of a setting whose value is a choice of its own: what its `_target_` makes."""


def declared(place: str, target: str) -> Declared:
    """The settings of `target`, such as "pipeline.models.hmm.HiddenMarkovModel". Raises Refusal where there is no such
    class or function; `place` names the setting that asks for it."""
    module, _, name = str(target).rpartition(".")
    if module.startswith("torch.optim") and place.startswith("optimizer."):  # the rule declares its settings
        return Declared({}, open=True)
    found = None if module.split(".")[0] == "torch" else _of(module, name)
    if found is None:
        raise Refusal(
            f"{place}={target}: there is no such class or function: take one such as pipeline.cells.lstm.LSTM"
        )
    return found


def described(target: str) -> str | None:
    """The docstring of a class or function; None where there is none."""
    module, _, name = target.rpartition(".")
    node = next((node for node in _source(module) if getattr(node, "name", None) == name), None)
    return ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef) else None


@cache
def _of(module: str, name: str) -> Declared | None:
    body = _source(module)
    for node in body:
        if getattr(node, "name", None) == name:
            if isinstance(node, ast.FunctionDef):
                return _parameters(node)
            if isinstance(node, ast.ClassDef):
                return _class(module, node, body)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _of(node.module, alias.name)
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            return Declared({}, open=True)
    return None


@cache
def _source(module: str) -> list[ast.stmt]:
    """The statements of a module's file; none where it has none."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return []
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return []
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body


def _class(module: str, node: ast.ClassDef, body: list[ast.stmt]) -> Declared:
    made = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    own = _parameters(made) if made is not None else Declared(_fields(node), True, _needed_fields(node))
    if not own.open:
        return own
    settings, more, needed = {}, False, own.needed
    for base in node.bases:
        found = _of(module, base.id) if isinstance(base, ast.Name) else None
        if found is None:
            more = more or not (isinstance(base, ast.Name) and base.id in ("ABC", "Protocol", "NamedTuple"))
        else:
            settings |= found.settings
            more = more or found.open
            needed |= found.needed if made is None else frozenset()
    return Declared(settings | own.settings, more, needed)


def _fields(node: ast.ClassDef) -> dict[str, Any]:
    return {
        part.target.id: _annotation(part.annotation)
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }


def _needed_fields(node: ast.ClassDef) -> frozenset[str]:
    """Fields without a default, of a dataclass."""
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return frozenset()
    return frozenset(
        part.target.id
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is None
    )


def _parameters(node: ast.FunctionDef) -> Declared:
    placed, named = [*node.args.posonlyargs, *node.args.args], node.args.kwonlyargs
    settings = {one.arg: _annotation(one.annotation) for one in [*placed, *named] if one.arg != "self"}
    having = {one.arg for one in placed[len(placed) - len(node.args.defaults) :]}
    having |= {one.arg for one, default in zip(named, node.args.kw_defaults) if default is not None}
    return Declared(settings, node.args.kwarg is not None, frozenset(set(settings) - having))


def _annotation(node: ast.expr | None) -> Any:
    """What an annotation says of values. What is written with other names is made by the program: Any, or Choice where
    it is called."""
    if node is None:
        return Any
    if any(isinstance(part, ast.Name) and part.id == "Callable" for part in ast.walk(node)):
        return Choice
    try:
        return eval(compile(ast.Expression(node), "annotation", "eval"), dict(NAMES))
    except NameError:
        return Any
