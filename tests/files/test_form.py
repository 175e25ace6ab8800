from typing import Literal, NotRequired

import pytest
from typing_extensions import TypedDict

from pipeline.files.form import misfit


class Units(TypedDict):
    loss: str


class Thing(TypedDict):
    count: int
    kind: Literal["a", "b"]
    units: Units
    more: NotRequired[float | None]


GOOD = {"count": 3, "kind": "a", "units": {"loss": "nats"}}


@pytest.mark.parametrize("more", [{}, {"more": None}, {"more": 2}, {"more": float("nan")}, {"unknown": [1]}])
def test_what_is_of_the_form_has_no_fault(more):
    assert misfit(GOOD | more, Thing) is None


@pytest.mark.parametrize(
    "value, why",
    [
        ([], "it should be a valid dictionary"),
        ({}, "it lacks count, kind, units"),
        (GOOD | {"units": {}}, "it lacks units.loss"),
        (GOOD | {"count": "3"}, "count should be a valid integer"),
        (GOOD | {"count": True}, "count should be a valid integer"),
        (GOOD | {"kind": "c"}, "kind should be 'a' or 'b'"),
        (GOOD | {"more": "x"}, "more should be a valid number"),
    ],
)
def test_a_fault_is_named_with_its_place(value, why):
    assert misfit(value, Thing) == why


def test_of_many_missing_keys_three_are_named():
    assert misfit({}, TypedDict("Four", dict.fromkeys("abcd", int))) == "it lacks a, b, c and more"
