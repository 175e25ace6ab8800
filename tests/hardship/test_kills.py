"""Killed at any moment, several times, and taken up again: the end is bit for bit that of a run left alone."""

import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from pipeline.files.whole import read_lines
from pipeline.runs.directory import RunDirectory
from tests.conftest import prepared_text, trained, words
from tests.runs.test_resume import FORKED, records, same

SERIES = ["data.length=20000", "trainer.batch=4", "trainer.length=50", "trainer.checkpoint_every=3"]
KINDS = {
    "recurrent on text": [
        "model.layers=2",
        "model.dropout=0.3",
        "optimizer=adam",
        "schedule=cosine",
        "schedule.warmup=5",
        "trainer.steps=200",
        "trainer.checkpoint_every=2",
        "trainer.record_every=3",
    ],
    "hmm": ["model=hmm", "optimizer.passes=6", "trainer.batch=4", "trainer.length=150", "trainer.checkpoint_every=1"],
    "lds": ["data=sine", "model=lds", "optimizer.passes=2", *SERIES],
    "echo state": ["data=mackey_glass", "model=echo_state", "model.noise=0.01", *SERIES],
    "ngram": ["model=ngram", "model.order=4", "trainer.batch=4", "trainer.length=40", "trainer.checkpoint_every=2"],
    "recurrent on episodes": [
        "data=copying",
        "data.episodes=400",
        "model=gru",
        "optimizer=adam",
        "trainer.steps=200",
        "trainer.checkpoint_every=2",
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """kind, name -> a folder, and the overrides of a run of seconds whose directory is below it."""
    folder = tmp_path_factory.mktemp("kills")
    text = prepared_text(folder, words(4000))

    def placed(kind: str, name: str) -> tuple[Path, list[str]]:
        data = [] if any(one.startswith("data=") for one in KINDS[kind]) else text
        common = ["scale=smoke", "tracking.uri=null", "trainer.accelerator=cpu", "trainer.sample.length=20"]
        runs = folder / kind.replace(" ", "_") / name
        return runs, [*data, *common, *KINDS[kind], f"paths.runs={runs}"]

    return placed


def started(runs: Path, overrides: list[str]) -> BaseProcess:
    """The process that trains the run, once it says that it does, or has ended."""
    process = FORKED.Process(target=trained, args=overrides)
    process.start()
    while process.is_alive():
        about = [RunDirectory(file.parent).facts for file in runs.glob("*/*/run.json")]
        if any(facts["status"] == "running" and facts["process"] == process.pid for facts in about):
            break
        time.sleep(0.002)
    return process


def survives(place, kind: str, kills: int, seed: int) -> None:
    """A run that is killed so often, at moments of the random `seed`, ends as one that is left alone."""
    draw = random.Random(seed)
    process = started(*place(kind, f"whole{seed}"))
    start = time.monotonic()
    process.join()
    seconds = time.monotonic() - start
    assert process.exitcode == 0
    killed = 0
    for _ in range(kills):
        process = started(*place(kind, f"killed{seed}"))
        process.join(draw.uniform(0.02, 0.9) * seconds / kills)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed, "every process was faster than its kill"
    run = trained(*place(kind, f"killed{seed}")[1])
    [expected] = [RunDirectory(file.parent) for file in place(kind, f"whole{seed}")[0].glob("*/*/run.json")]
    assert run.path.name == expected.path.name and run.finished
    assert records(run.metrics) == records(expected.metrics) and read_lines(run.samples) == read_lines(expected.samples)
    for ours, theirs in ((run.last, expected.last), (run.best, expected.best)):
        same(torch.load(ours, weights_only=False), torch.load(theirs, weights_only=False))


@pytest.mark.hardship
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_four_times(place, kind):
    survives(place, kind, 4, seed=1)
