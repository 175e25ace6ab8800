"""Two ranks, for every learning rule and kind of data: stopped within a pass and taken up by two or by one, and saved
at every step, a run ends as one that was left alone.

To the bit, but for two: what one rank goes on with after two, and the sums of a pass over the data, of which after a
stop the first rank has what both had, so that they are added up in another order.
"""

import os
from pathlib import Path

import pytest
import torch

from pipeline.files.whole import read_lines
from pipeline.learning.learning import Learning
from pipeline.runs.directory import RunDirectory
from tests.conftest import prepared_text, trained, words
from tests.learning.test_statistics import MODELS
from tests.runs.test_kinds import KINDS, Stopped, by_two, close, short
from tests.runs.test_resume import records, same

TEXT = ["model=lstm", "optimizer=adam", "trainer.batch=4", "trainer.length=16", "trainer.steps=8"]
# Beside those of test_kinds: a text and a series by gradient, and a model for each rule that learns in passes.
FREE = [*TEXT, "optimizer=hessian_free", "optimizer.curvature_batch=3", "optimizer.cg_steps=6"]
MORE = {"text": TEXT, "text, Hessian-free": FREE, "series": ["data=mackey_glass", "data.length=2000", *TEXT]} | MODELS
READ_TEXT = ("text", "text, Hessian-free", "hmm", "ngram")
FEW = ["ragged, by EM"]  # the one whose sums over a pass, shared out wrongly, were seen by no other test
EVERY = "trainer.checkpoint_every=1"
STOPPED = 2  # at this step: within a pass


@pytest.fixture(scope="module")
def settings(within, tmp_path_factory):
    """kind, runs -> overrides of a run of a few steps below the folder `runs`."""
    texts = prepared_text(tmp_path_factory.mktemp("text"), words(4000))
    text = [one for one in texts if not one.startswith("paths.runs=")]

    def of(kind: str, runs: str, *more: str) -> list[str]:
        chosen = short(kind) if kind in KINDS else [*(text if kind in READ_TEXT else []), *MORE[kind]]
        return within(runs, [*chosen, *more])

    return of


def rank_of_two(rank: int, port: int, plan: list[tuple[list[str], int | None]]) -> None:
    """Trains, as one of two ranks, all runs of the plan; what ends at a step there ends as if it were killed."""
    from pipeline.runs import scheduler

    about = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "NODE_RANK": 0, "LOCAL_RANK": rank}
    os.environ |= {name: str(value) for name, value in about.items()}
    scheduler.RANK = rank
    enter = Learning.enter
    for overrides, end in plan:

        def stop(learning, batch, end=end):
            if learning.global_step == end:
                raise Stopped
            enter(learning, batch)

        Learning.enter = stop
        try:
            trained(*overrides)
        except Stopped:
            assert end is not None


def plan_of(kind: str, settings) -> list[tuple[list[str], int | None]]:
    return [
        (settings(kind, "whole", "trainer.devices=2"), None),
        (settings(kind, "every", "trainer.devices=2", EVERY), None),
        (settings(kind, "by two", "trainer.devices=2", EVERY), STOPPED),
        (settings(kind, "by two", "trainer.devices=2", EVERY), None),
        (settings(kind, "by one", "trainer.devices=2", EVERY), STOPPED),
    ]


def run_in(overrides: list[str], name: str) -> RunDirectory:
    runs = Path(next(one for one in overrides if one.startswith("paths.runs=")).removeprefix("paths.runs="))
    return RunDirectory(runs / "single" / name)


def same_runs(ours: RunDirectory, theirs: RunDirectory) -> None:
    assert ours.path.name == theirs.path.name and ours.finished
    assert records(ours.metrics) == records(theirs.metrics) and read_lines(ours.samples) == read_lines(theirs.samples)
    for mine, other in ((ours.last, theirs.last), (ours.best, theirs.best)):
        same(torch.load(mine, weights_only=False), torch.load(other, weights_only=False))


def check(kind: str, settings) -> None:
    """What the plan has left behind, and what one process makes of it."""
    alone, saved = (trained(*settings(kind, name, *more)) for name, *more in (("alone",), ("saved", EVERY)))
    same_runs(saved, alone)
    whole, every, two = (run_in(settings(kind, name), alone.path.name) for name in ("whole", "every", "by two"))
    same_runs(every, whole)
    if alone.config().optimizer.rule.endswith(".Gradient"):
        same_runs(two, whole)
    began = run_in(settings(kind, "by one"), alone.path.name)
    assert began.facts["status"] == "running" and began.last.exists()
    by_one = trained(*settings(kind, "by one", EVERY))
    # The normal equations of a reservoir make far more of the last bit.
    tolerance = 1e-6 if "ridge" in kind or kind == "echo_state" else 1e-9
    expected = torch.load(whole.last, weights_only=False)
    for run in (two, by_one):
        assert run.finished
        last = torch.load(run.last, weights_only=False)
        for part in ("state_dict", "carried", "loss", "sums", "hessian_free"):
            close(last.get(part), expected.get(part), tolerance)
        for record, other in zip(records(run.metrics), records(whole.metrics), strict=True):
            close(record, other, tolerance)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.hardship] * (kind not in FEW)) for kind in [*KINDS, *MORE]]
)
def test_two_ranks(settings, kind):
    by_two(rank_of_two, plan_of(kind, settings))
    check(kind, settings)
