"""What a person sees while a run trains."""

import sys

import pytest

from pipeline.command.terminal import meanwhile
from pipeline.datasets.space import Symbols
from pipeline.runs.progress import COLUMNS, SHOWN, Progress

RECORD = {"step": 5, "targets": 50, "seconds": 1.0, "train": 1.5}
NAME = "shakespeare-gru-1x128-rmsprop-54e6b22d-s0"


def progress(kind: str, alone: bool = True) -> Progress:
    made = Progress(kind, NAME, 25_000, None, Symbols(2, "char").units, alone)
    made.start(0)
    return made


def test_the_bar_keeps_the_last_validation(capsys):
    shown = progress("bar")
    shown.show(RECORD, 1000)
    shown.bar.refresh()
    assert capsys.readouterr().err.endswith(", train 1.5000 nats/char  1.0 kchar/s]")
    shown.show(RECORD | {"step": 6, "validation": 1.25}, 1000)
    shown.show(RECORD | {"step": 7, "train": 1.0}, 1000)
    shown.bar.refresh()
    last = capsys.readouterr().err.split("\r")[-1]
    shown.close()
    assert last.endswith(", train 1.0000  validation 1.2500 nats/char  1.0 kchar/s]") and len(last) <= COLUMNS


def test_samples_stand_above_the_bar_of_a_run_that_is_alone(capsys):
    text = "To be\t\x1b[2J" + "or not " * 40 + "\n\n" + "to be\n" * 20
    for kind, alone in (("lines", True), ("bar", False)):
        shown = progress(kind, alone)
        shown.show_sample({"step": 1200, "text": text})
        shown.close()
    assert capsys.readouterr().out == ""
    shown = progress("bar")
    shown.show_sample({"step": 1200, "text": text})
    shown.close()
    head, *lines = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert head == "step 1,200:" and lines[-1] == "    ..." and len(lines) == SHOWN + 1
    assert lines[0].startswith("    To be") and all(line.isprintable() and len(line) <= COLUMNS for line in lines)
    assert "".join(line[4:] for line in lines[:4]).replace("to be", "").count("or not ") == 40


@pytest.mark.parametrize("alone", [True, False])
def test_lines_fit_a_terminal(capsys, alone):
    shown = progress("lines", alone)
    shown.show(RECORD | {"step": 10_000, "validation": 2.25}, 123456)
    [line] = capsys.readouterr().out.splitlines()
    assert len(line) <= COLUMNS and "10,000/25,000" in line and "validation 2.2500 nats/char" in line
    assert (NAME in line) != alone and ("train 1.5000" in line) == alone


def test_what_goes_on_meanwhile_is_said_on_a_terminal_and_taken_back(monkeypatch, capsys):
    with meanwhile("loading ..."):
        assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(KeyboardInterrupt), meanwhile("loading ..."):
        assert capsys.readouterr().err == "loading ...\r"
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "\x1b[K"
