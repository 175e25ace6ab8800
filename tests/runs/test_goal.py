"""trainer.stop_at ends a run at the first validation that reaches a value."""

import math

import pytest
import torch
from omegaconf import OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import Criterion
from pipeline.datasets.space import Bits, Reals, Symbols
from pipeline.files.whole import read_lines
from pipeline.runs import training
from pipeline.runs.checkpoints import AtomicCheckpointIO
from pipeline.runs.goal import Goal
from tests.conftest import trained
from tests.runs.test_resume import records

LONG = ["trainer.steps=400", "trainer.validate_every=10", "trainer.record_every=7", "optimizer.lr=0.01"]
LONG += ["trainer.checkpoint_every=30", "trainer.sample.at=[]", "trainer.sample.length=10"]


class Data:
    def __init__(self, answers, criterion):
        self.answers, self.criterion = answers, criterion


def goal(answers, measure, value, criterion=None) -> Goal:
    cfg = OmegaConf.from_dotlist([f"trainer.stop_at.measure={measure}", f"trainer.stop_at.value={value}"])
    return Goal.of(cfg, Data(answers, criterion))


def validations(run) -> list[dict]:
    return [record for record in read_lines(run.metrics) if "validation" in record]


@pytest.fixture
def unstopped(run_in):
    return run_in(*LONG, "trainer.steps=100")


@pytest.mark.parametrize("measure, unit", [("loss", 1.0), ("bits", 1 / math.log(2)), ("right", None)])
def test_a_run_ends_at_the_first_validation_that_reaches_the_value(run_in, unstopped, capsys, measure, unit):
    """No sooner and no later, and up to there it is the run that it would have been without."""
    key, expected = ("right", max) if measure == "right" else ("validation", min)
    losses = [record[key] for record in validations(unstopped)]
    assert len(losses) == 10 and expected(losses[:4]) != losses[0]
    good = losses[3]
    first = next(k for k, one in enumerate(losses) if (one >= good if measure == "right" else one <= good))
    value = good if unit is None else good * unit * (1 + 1e-12)
    run = run_in(*LONG, f"trainer.stop_at.measure={measure}", f"trainer.stop_at.value={value}")
    last = validations(run)[-1]
    step = 10 * (first + 1)
    assert run.finished and last["step"] == step == torch.load(run.last, weights_only=False)["global_step"]
    assert run.facts["reached"] == {"measure": measure, "value": value, "step": step, "targets": last["targets"]}
    assert records(run.metrics) == [record for record in records(unstopped.metrics) if record["step"] <= step]
    assert run.facts["hash"] != unstopped.facts["hash"] and read_lines(run.samples)[-1]["step"] == step
    said = capsys.readouterr().out
    assert f"; {measure} reached {value:g} at step {step}, {last['targets']:,} targets" in said


def test_a_run_that_does_not_reach_it_goes_to_its_end(run_in, capsys):
    run = run_in(*LONG, "trainer.steps=20", "trainer.stop_at.measure=bits", "trainer.stop_at.value=0.1")
    assert run.finished and run.facts["reached"] is None and validations(run)[-1]["step"] == 20
    assert "; bits has not reached 0.1" in capsys.readouterr().out


@pytest.mark.parametrize("solved", [True, False])
def test_a_run_ends_where_its_problem_is_solved(tmp_path, monkeypatch, capsys, solved):
    """By the criterion of its data, of which neither the trainer nor the goal knows more."""
    right = 0.1 if solved else 1.0  # of five symbols
    monkeypatch.setattr("pipeline.datasets.random_permutation.RandomPermutation.criterion", Criterion(right))
    run = trained(
        *("data=random_permutation", "data.lag=4", "data.symbols=5", "data.held=20", "trainer.stop_at.measure=solved"),
        *("scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}", "trainer.sample.at=[]"),
    )
    reached = {"measure": "solved", "value": None, "step": 10, "targets": validations(run)[0]["targets"]}
    found = [record["right"] >= right for record in validations(run)]
    assert found == ([True] if solved else [False, False]) and run.facts["reached"] == (reached if solved else None)
    said = f"; solved at step 10, {reached['targets']} targets" if solved else "; not solved"
    assert said in capsys.readouterr().out


class Killed(Exception):
    pass


def after_its_checkpoint(patch, step: int) -> None:
    """Training has ended and is saved, the run is not called finished."""

    def then_killed(*arguments):
        training.fit(*arguments)
        raise Killed

    patch.setattr("pipeline.runs.session.fit", then_killed)


def before_its_checkpoint(patch, step: int) -> None:
    """What was reached is recorded, and not saved."""
    save = AtomicCheckpointIO.save_checkpoint

    def killed(io, checkpoint, path, **more):
        if checkpoint.get("global_step") == step:
            raise Killed
        save(io, checkpoint, path, **more)

    patch.setattr(AtomicCheckpointIO, "save_checkpoint", killed)


@pytest.mark.parametrize("moment", [after_its_checkpoint, before_its_checkpoint])
def test_what_is_reached_is_kept_when_the_run_is_killed_right_there(run_in, unstopped, monkeypatch, moment):
    good = validations(unstopped)[3]
    overrides = [*LONG, "trainer.stop_at.measure=loss", f"trainer.stop_at.value={good['validation']}"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        moment(patch, good["step"])
        run_in(*overrides)
    run = run_in(*overrides)
    assert run.finished and run.facts["reached"]["step"] == good["step"] == validations(run)[-1]["step"]
    assert torch.load(run.last, weights_only=False)["global_step"] == good["step"]
    assert records(run.metrics) == [record for record in records(unstopped.metrics) if record["step"] <= good["step"]]


def test_measures_by_hand():
    for answers, measure, value, bad, good in (
        (Symbols(9), "loss", 0.5, 0.51, 0.5),
        (Symbols(9), "bits", 1.0, 0.7, 0.69),
        (Bits(2), "bits", 1.0, 0.7, 0.69),
        (Reals(2), "rmse", 0.5, 0.26, 0.25),
        (Reals(2), "loss", 0.5, 0.51, 0.5),
    ):
        of = goal(answers, measure, value)
        assert not of.reached(bad, None) and of.reached(good, None) and not of.reached(math.nan, None)
    of = goal(Reals(2, tolerance=0.1), "right", 1)
    assert not of.reached(0.0, 0.99) and of.reached(9.0, 1.0)
    of = goal(Reals(1, tolerance=0.1), "solved", "null", Criterion(0.9, 0.2))
    assert of.reached(0.19, 0.9) and not of.reached(0.2, 0.9) and not of.reached(0.19, 0.89)
    none = goal(Symbols(9), "null", "null")
    assert not none.reached(0.0, 1.0) and none.said(None) == ""


@pytest.mark.parametrize(
    "answers, measure, value, said",
    [
        (Symbols(9), "rmse", 1, "measure=rmse: take loss, nats, bits, right, or leave stop_at out"),
        (Symbols(9), "null", 1, "measure=null: take loss"),
        (Reals(1), "bits", 1, "measure=bits: take loss, rmse, or leave"),
        (
            Reals(1),
            "right",
            1,
            "measure=right: nothing says which answers are right in these data: take loss, rmse, or",
        ),
        (Symbols(9), "loss", "null", "value=null: take a number from 0 that loss is to fall to"),
        (Symbols(9), "loss", "low", "value=low: take a number"),
        (Symbols(9), "loss", "true", "value=true: take a number"),
        (Symbols(9), "bits", "nan", "value=nan: take a number"),
        (Symbols(9), "bits", "inf", "value=inf: take a number"),
        (Symbols(9), "bits", -1, "value=-1: take a number"),
        (Symbols(9), "right", 90, "value=90: take a share above 0, up to 1, that right is to rise to"),
        (Symbols(9), "right", 0, "value=0: take a share"),
        (Symbols(9), "solved", "null", "measure=solved: nothing says when these data are solved: take loss, nats, "),
    ],
)
def test_nonsense_is_refused(answers, measure, value, said):
    with pytest.raises(Refusal, match=f"^trainer.stop_at.{said}") as refusal:
        goal(answers, measure, value)
    assert "\n" not in str(refusal.value)


def test_what_is_solved_the_data_say():
    with pytest.raises(Refusal, match="^trainer.stop_at.value=0.99: solved has the value that .*: leave it out$"):
        goal(Symbols(9), "solved", 0.99, Criterion(0.9))
    with pytest.raises(Refusal, match="take loss, nats, bits, right, solved, or leave"):
        goal(Symbols(9), "rmse", 1, Criterion(0.9))


def test_nonsense_is_refused_before_any_work(run_in, tmp_path):
    with pytest.raises(Refusal, match="trainer.stop_at.measure=rmse: take loss"):
        run_in("trainer.stop_at.measure=rmse", "trainer.stop_at.value=1")
    assert not list(tmp_path.glob("runs/*/*"))
