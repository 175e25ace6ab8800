"""The form of what a file holds: declared by types such as TypedDict, checked where the file is read."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError


def misfit(value: object, form: Any) -> str | None:
    """Why `value`, as JSON has it, is not of the type `form`; None where it is. It may have keys that `form` does not
    name."""
    try:
        _adapter(form).validate_python(value, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lacking = [_place(fault) for fault in faults if fault["type"] == "missing"]
        if lacking:
            return f"it lacks {', '.join(lacking[:3])}{' and more' * (len(lacking) > 3)}"
        return f"{_place(faults[0]) or 'it'} {faults[0]['msg'].removeprefix('Input ')}"
    return None


@cache
def _adapter(form: Any) -> TypeAdapter:
    return TypeAdapter(form)


def _place(fault: Any) -> str:
    return ".".join(map(str, fault["loc"]))
