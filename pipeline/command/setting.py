"""What values a setting may have. The annotation of a parameter, such as `Annotated[float, Ge(0), Lt(1)]`, checks the
setting of its name, words the refusal and documents it."""

import types
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AllowInfNan, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from pipeline.command.refusal import Refusal


class Called(str):
    """What the values of an annotation are called, where its own words would not do."""


Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
TrainSize = Annotated[int, Ge(2)]
Number = float
NotNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Threshold = Annotated[float, Gt(0), AllowInfNan(True)]
Weight = Annotated[float, Ge(-1e30), Le(1e30)]
Width = Annotated[float, Gt(0), Le(1e30)]
Share = Annotated[float, Ge(0), Le(1)]
Crop = Annotated[float, Gt(0), Le(1)] | None  # of a picture's shorter side; None: the whole picture
Name = Annotated[
    str,
    StringConstraints(pattern=r"^\w[\w.-]*$"),
    Called("a name of letters, digits and _ - . that begins with a letter or digit"),
]
Split = Annotated[
    str,
    StringConstraints(pattern=r"^[1-9]\d?-[1-9]\d?(-[1-9]\d?)?$"),
    Called("per cent of training, validation and test part, such as 80-10-10, or of the first two, such as 90-10"),
]
LIKE = r"(\w+) ([1-9]\d*)x([1-9]\d*)"
Budget = (
    Annotated[int, Ge(1), Le(2**40)]
    | Annotated[
        str,
        StringConstraints(pattern=f"^{LIKE}$"),
        Called("a network that has as many, as 'lstm 1x64' for one layer of 64 units"),
    ]
)
Pairs = Annotated[
    list[Annotated[str, Len(2, 2)]],
    Len(1),
    Called("an opening and a closing symbol each, one or more, as ['()','[]']"),
]
Temperatures = Annotated[list[NotNegative], Len(1), Called("numbers from 0, one or more, as [0.5,1.0]")]
SLURM_TIME = r"(\d+-\d+(:\d\d?){0,2}|\d+:\d\d?(:\d\d?)?)"
Minutes = (
    Count
    | Annotated[
        str,
        StringConstraints(pattern=f"^{SLURM_TIME}$"),
        Called("a time in SLURM's notation, as 4:00:00 or 1-00:00:00"),
    ]
)

STRICT = ConfigDict(strict=True, allow_inf_nan=False)  # no words for numbers, no numbers for truth values


def check_value(place: str, value: object, annotation: Any) -> None:
    """Raises Refusal where `value` is none that `annotation` allows, with what it does."""
    if isinstance(value, str) and value.encode("utf-8", "replace").decode() != value:
        raise Refusal(f"{place}={shown(value)}: take text in UTF-8")
    try:
        as_python = tuple(value) if isinstance(value, list) and get_origin(annotation) is tuple else value
        _adapter(annotation).validate_python(as_python)
    except ValidationError:
        raise Refusal(f"{place}={shown(value)}: take {takes(annotation)}{_quoted(place, value, annotation)}") from None


def _quoted(place: str, value: object, annotation: Any) -> str:
    """How a value that looks like a number, or like true, is written as text."""
    texts = any(part is str for part in _alternatives(annotation))
    return f", as {place}='\"{shown(value)}\"'" if texts and isinstance(value, int | float) else ""


@cache
def _adapter(annotation: Any) -> TypeAdapter:
    return TypeAdapter(annotation, config=STRICT)


def shown(value: object) -> str:
    """A value as it is written on the command line and in YAML, on one line and not at length."""
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value) if str(value).isprintable() else repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def takes(annotation: Any) -> str:
    """What `annotation` allows, in words: "a whole number from 1, or null"."""
    words = [_words(part) for part in _alternatives(annotation)]
    return ", or ".join(words)


def _alternatives(annotation: Any) -> list:
    """The members of a union, null last."""
    if get_origin(annotation) in (Union, types.UnionType):
        return sorted(get_args(annotation), key=lambda part: part is type(None))
    return [annotation]


def _words(annotation: Any) -> str:
    kind, *limits = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    for limit in limits:
        if isinstance(limit, Called):
            return str(limit)
    if kind in (int, float):
        return _range("a whole number" if kind is int else "a number", limits)
    if get_origin(kind) is Literal:
        values = [shown(value) for value in get_args(kind)]
        return " or ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else values[0]
    if get_origin(kind) is tuple:
        return f"a list [{', '.join(map(_words, get_args(kind)))}]"
    if get_origin(kind) is list:
        [part] = get_args(kind) or (Any,)
        plural = {"text": "texts"}.get(_words(part)) or _words(part).removeprefix("a ").replace("number", "numbers", 1)
        return "a list" if part is Any else f"a list of {plural}, as [..,..]"
    return {
        bool: "true or false",
        str: "text",
        type(None): "null",
        dict: "a mapping",
        Any: "anything",
    }.get(kind, str(kind))


def _range(kind: str, limits: list) -> str:
    low = high = ""
    for limit in limits:
        if isinstance(limit, Ge):
            low = f" from {limit.ge:,}"
        elif isinstance(limit, Gt):
            low = f" above {limit.gt:,}"
        elif isinstance(limit, Le):
            high = f" to {limit.le:,}"
        elif isinstance(limit, Lt):
            high = f", below {limit.lt:,}"
    return kind + low + high
