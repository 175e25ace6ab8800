"""The code that a run was trained by."""

import importlib
import subprocess
import sys

import pytest

from pipeline.runs import code
from pipeline.runs.code import changed, code_version, digest, meaning, starts_over
from tests.conftest import ROOT, composed, trained

SOURCE = 'def f(x):\n    """Twice x."""\n    return 2 * x  # doubled\n'


def test_the_commit_is_gits():
    asked = ["git", "rev-parse", "HEAD"]
    expected = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    assert code_version()["commit"] == expected


@pytest.mark.parametrize(
    "text, same",
    [
        ('"""What a module is."""\n\n\ndef f(x):\n    "2 x."\n    return (2 *\n            x)\n', True),
        ("def f(x):\n    return 3 * x\n", False),
        ("def f(x, y=1):\n    return 2 * x\n", False),
    ],
)
def test_what_a_module_does_is_told_from_what_it_says(text, same):
    assert (meaning(text) == meaning(SOURCE)) is same


def test_a_run_notes_its_modules_and_is_trained_anew_where_one_has_changed(small, monkeypatch, capsys):
    run = trained(*small, "trainer.steps=2")
    sources = run.facts["code"]["sources"]
    assert {"cells.lstm", "models.recurrent", "learning.gradient", "datasets.text", "recurrence.steps.cpp"} <= {
        *sources
    }
    assert "runs.session" not in sources and not any(found is None for found in sources.values())
    stamp = run.last.stat().st_mtime_ns
    trained(*small, "trainer.steps=2", "fresh=code")
    assert run.last.stat().st_mtime_ns == stamp and "fresh=true starts it over" in capsys.readouterr().out
    monkeypatch.setattr(code, "digest", lambda module: "00000000" if module == "models.recurrent" else digest(module))
    assert changed(run.facts) == ["models.recurrent"]
    trained(*small, "trainer.steps=2")
    said = capsys.readouterr().out
    assert "by code that has changed since, models.recurrent: fresh=code starts it over" in said
    assert run.last.stat().st_mtime_ns == stamp
    trained(*small, "trainer.steps=2", "fresh=code")
    assert run.last.stat().st_mtime_ns != stamp and run.facts["code"]["sources"]["models.recurrent"] == "00000000"
    assert not changed(run.facts)


ALONE = """
import sys
from pipeline.api import train
from pipeline.runs.code import loaded
noted = train(*sys.argv[1:]).directory.facts["code"]["sources"]
print("left out:", sorted({*loaded()} - {*noted}))
"""


@pytest.mark.parametrize("words", [["model=lds"], ["model=gru", "data=adding", "optimizer=hessian_free"]], ids=" ".join)
def test_all_that_a_process_imports_for_a_run_is_noted(tmp_path, words):
    base = ["data=sine", "scale=smoke", "trainer.progress=lines", "tracking.uri=null", f"paths.runs={tmp_path}"]
    asked = [sys.executable, "-c", ALONE, *base, *words]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1:] == ["left out: []"], done.stderr


def test_what_other_runs_of_the_process_were_trained_by_is_not():
    for module in ("models.lds", "models.kalman_compiled", "datasets.adding", "encoders.small_cnn", "models.captioner"):
        importlib.import_module(f"pipeline.{module}")
    noted = code.sources(composed("data=adding", "model=rnn"))
    assert {"datasets.adding", "models.recurrent", "cells.rnn", "recurrence.steps.cpp"} <= {*noted}
    assert not {"models.lds", "models.kalman.cpp", "encoders.small_cnn", "models.captioner"} & {*noted}
    assert {"models.lds", "models.kalman.cpp"} <= {*code.sources(composed("data=sine", "model=lds"))}
    assert "encoders.small_cnn" in code.sources(composed("data=scenes", "model=lrcn", "encoder=small_cnn"))


def test_what_a_class_of_elsewhere_leads_to_is_not_known():
    importlib.import_module("pipeline.models.lds")
    cfg = composed("data=adding", "model=rnn")
    cfg.model._target_ = "elsewhere.Network"
    assert {*code.sources(cfg)} == {*code.loaded()}


def test_a_run_of_before_modules_were_noted_is_left_alone():
    assert changed({}) == changed({"code": {"commit": "abc", "dirty": False}}) == []
    assert not starts_over("code", {}) and starts_over(True, {}) and not starts_over(False, {})
    assert changed({"code": {"sources": {"models.gone": "12345678"}}}) == ["models.gone"]
