"""The lecture, point by point."""

import pytest

from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF
from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.lecture import deciding, document, names, opened
from tests.conftest import lacks

MEASURES = {"nats": Measure()}


def claim(text: str, verdict: str, **more) -> dict:
    judged = {"measure": "nats", "difference": None, "error": None, "seeds": 0, "why": "no run of lstm"}
    return {"claim": text, "verdict": verdict} | judged | more


def study(name: str, lecture: list[str], claims: list[dict]) -> dict:
    return {"study": name, "lecture": lecture, "claims": claims, "measures": MEASURES}


def test_the_document_is_made_from_the_same_source():
    assert (CONF.parent / "docs" / "lecture.md").read_text(encoding="utf-8") == document()


@pytest.mark.parametrize("study", sorted({path.stem for path in (CONF / "study").glob("*.yaml")} - {"single"}))
def test_every_study_names_a_point(study):
    if study not in {one for studies in deciding().values() for one in studies}:
        lacks(study, "name the points of the lecture that it decides, if it does: `lecture: [cells]` below `study:`")


def test_no_point_is_named_twice():
    assert len(set(names())) == len(names())


@pytest.mark.parametrize("where", ["lecture: [moon]", "claims: [{claim: it shines, lecture: [moon]}]"])
def test_a_point_that_there_is_not_is_refused(tmp_path, where):
    (tmp_path / "mine.yaml").write_text(f"study: {{name: mine, {where}}}\n")
    with pytest.raises(Refusal, match=r"mine.yaml: lecture: there is no moon: take of stock, delay_taps, "):
        deciding(tmp_path)


def test_points_have_the_claims_about_them_and_the_studies_that_were_not_run():
    evaluated = [
        study(
            "cells", ["cells"], [claim("gates help", "holds"), claim("so do echoes", "undecided", lecture=["vanilla"])]
        ),
        study("shown", ["hello"], []),
    ]
    found = opened(evaluated, {"cells": ["cells", "zoo"], "hello": ["shown"]})
    points = {point["name"]: point for part in found for point in part["points"]}
    assert list(points) == names()
    assert [(one["claim"], one["verdict"]) for one in points["cells"]["claims"]] == [("gates help", "holds")]
    assert points["cells"]["left"] == ["zoo"] and points["cells"]["shown"] == []
    assert [one["claim"] for one in points["vanilla"]["claims"]] == ["so do echoes"]
    assert [one["study"] for one in points["hello"]["shown"]] == ["shown"] and points["hello"]["left"] == []
    assert not any(points["stock"][key] for key in ("claims", "shown", "left"))
