"""What the signals of a terminal do to a run."""

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from pipeline.datasets.space import Symbols
from pipeline.files.whole import read_lines
from pipeline.runs.directory import RunDirectory
from pipeline.runs.progress import Progress
from pipeline.runs.settling import directory_of
from tests.conftest import ROOT, composed, trained

LONG = ["trainer.steps=100000", "trainer.validate_every=5", "trainer.checkpoint_every=100000"]


def until_training(run: RunDirectory) -> None:
    end = time.monotonic() + 120
    while not read_lines(run.metrics):
        assert time.monotonic() < end
        time.sleep(0.05)


def in_terminal(*words: str) -> tuple[int, int]:
    """The command as the leader of a terminal of its own: its process, and our end of the terminal."""
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests run under: nohup ignores it
        os.chdir(ROOT)
        os.execv(words[0], words)
    return process, terminal


def test_a_closed_terminal_saves_and_stops(small):
    """Although what is said then has nowhere to go."""
    overrides = [*small, *LONG]
    run = RunDirectory(directory_of(composed(*overrides)))
    process, terminal = in_terminal(sys.executable, "-m", "pipeline.train", *overrides, "trainer.progress=lines")
    until_training(run)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert run.facts["status"] == "stopped" and run.last.exists()


@pytest.mark.parametrize("kind", ["lines", "bar"])
def test_what_is_said_to_a_closed_terminal_is_lost_and_nothing_else(monkeypatch, kind):
    ours, terminal = os.openpty()
    streams = os.fdopen(terminal, "w"), os.fdopen(os.dup(terminal), "w")
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    progress = Progress(kind, "run", 10, None, Symbols(2).units, alone=True)
    os.close(ours)
    progress.start(1)
    progress.step(1)
    progress.say("step 1")
    progress.close()
    with pytest.raises(OSError):
        sys.stdout.flush()  # it is closed indeed
    for stream in streams:
        with suppress(OSError):
            stream.close()


def test_nohup_goes_on_when_the_terminal_closes(small):
    overrides = [*small, *LONG]
    run = RunDirectory(directory_of(composed(*overrides)))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup starts it
    try:
        process = subprocess.Popen([sys.executable, "-m", "pipeline.train", *overrides], cwd=ROOT, stdout=-3, stderr=-3)
    finally:
        signal.signal(signal.SIGHUP, before)
    until_training(run)
    process.send_signal(signal.SIGHUP)
    steps = len(read_lines(run.metrics))
    end = time.monotonic() + 60
    while len(read_lines(run.metrics)) < steps + 2:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130 and run.facts["status"] == "stopped"


def test_an_interruption_between_lightnings_start_and_the_first_step_is_one(small, monkeypatch):
    """Lightning itself would exit with 1."""
    from pipeline.runs.recorder import Recorder

    monkeypatch.setattr(Recorder, "on_train_start", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trained(*small)
