"""Who asks SLURM, and how often, by a program that stands for SLURM's."""

import ast
import os

import pytest

from pipeline.command import controller
from pipeline.command.controller import Unanswered, ask
from tests.conftest import ROOT


@pytest.fixture
def program(tmp_path, monkeypatch):
    """program(text): `squeue` does this, after it has noted that it was asked; returns the file of these notes."""

    def program(text: str):
        (tmp_path / "squeue").write_text(f"#!/bin/sh\ncd {tmp_path}; echo x >>asked\n{text}\n")
        (tmp_path / "squeue").chmod(0o755)
        (tmp_path / "asked").write_text("")
        return tmp_path / "asked"

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(controller, "PAUSE", 0)
    return program


@pytest.mark.parametrize(
    "fails, why",
    [("echo first >&2; echo away >&2; exit 1", "away"), ("exit 3", "exit code 3"), ("sleep 9", "no answer within 0")],
)
def test_what_fails_is_asked_three_times_and_its_last_words_are_handed_on(program, monkeypatch, fails, why):
    monkeypatch.setattr(controller, "PATIENCE", 0.2 if "sleep" in fails else 30)
    asked = program(f"[ $(wc -l <asked) -gt 2 ] || {{ {fails}; }}; echo $*")
    assert ask("squeue", "--noheader", "7") == "--noheader 7\n"
    asked = program(fails)
    with pytest.raises(Unanswered, match=rf"^SLURM does not answer \(squeue 7: {why}.*\): submit it again$"):
        ask("squeue", "--noheader", "7", mend="submit it again")
    assert asked.read_text() == "x\n" * 3


def test_what_is_not_there_or_cannot_be_run_is_told_of(program, monkeypatch):
    asked = program("")
    asked.with_name("squeue").chmod(0o644)
    monkeypatch.setenv("PATH", str(asked.parent))
    with pytest.raises(Unanswered, match=r"\(squeue: Permission denied\): ask again in a while$"):
        ask("squeue")
    with pytest.raises(Unanswered, match=r"\(scontrol show job 7: there is no such program here\)"):
        ask("scontrol", "show", "job", "7")


def test_nothing_else_asks_slurm():
    """What names one of its programs hands it to `ask`, or to `which`; else it would have its own idea of how often."""
    programs, found = {"squeue", "scontrol", "scancel", "sinfo"}, []
    for folder in ("pipeline", "slurm", "hydra_plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            calls = [call for call in ast.walk(tree) if isinstance(call, ast.Call)]
            asks = [call for call in calls if ast.unparse(call.func) in ("ask", "shutil.which")]
            fine = {id(word) for call in asks for word in call.args}
            found += [
                f"{path.relative_to(ROOT)}: {word.value}"
                for word in ast.walk(tree)
                if isinstance(word, ast.Constant) and word.value in programs and id(word) not in fine
            ]
    assert not found
