"""A loss that is not finite, or far above that of knowing nothing, ends a run with what to try; no other does."""

import math

import pytest

from pipeline.command.refusal import Refusal
from pipeline.probes.held_out import HeldOut
from pipeline.runs.divergence import divergence
from tests.conftest import composed, trained


def reason(loss, *overrides, scale=4.0, rate=0.002):
    cfg = composed("data=mackey_glass", *overrides)
    rate = None if "passes" in cfg.optimizer else rate
    return divergence(cfg, {"train": loss, "step": 1200}, scale, "nats/char", rate)


def test_losses_up_to_so_many_times_what_knowing_nothing_costs_go_on():
    assert reason(12.0) is None and reason(0.0) is None
    assert reason(12.0001) is not None and reason(-math.inf) is not None and reason(math.nan) is not None
    for loss in (math.inf, math.nan):
        assert reason(loss, "trainer.explode=inf") is not None
    assert reason(1e300, "trainer.explode=inf") is None and reason(0.0, "model=hmm") is None


@pytest.mark.parametrize(
    "loss, overrides, words",
    [
        (
            13.0,
            ["optimizer=sgd"],
            "the training loss is 13 nats/char at step 1,200, above trainer.explode=3 times 4, what knowing nothing "
            "costs: try a tenth of the learning rate (optimizer.lr=0.0002), or trainer.clip_norm=1",
        ),
        (math.nan, ["optimizer=sgd", "trainer.clip_norm=0.5"], "(optimizer.lr=0.0002)"),
        (
            math.nan,
            ["optimizer=adamw", "optimizer.weight_decay=1e39"],
            "optimizer.weight_decay=1e+39 is not finite in trainer.dtype=float32",
        ),
        (
            math.nan,
            ["optimizer=adamw", "optimizer.weight_decay=1e39", "trainer.dtype=float64"],
            "(optimizer.lr=0.0002)",
        ),
        (math.nan, ["optimizer=rmsprop"], "clip_norm=1, or other values than optimizer.alpha=0.95"),
        (4.1, ["trainer.explode=1e-6"], "models begin with such losses: take trainer.explode=3"),
        (20.0, ["trainer.explode=1e-6", "optimizer=sgd"], "(optimizer.lr=0.0002), or trainer.clip_norm=1"),
        (math.nan, ["model=hmm"], "at step 1,200: try other settings of model=hmm"),
        (
            math.nan,
            ["model=echo_state", "trainer.dtype=float32", "data.standardize=false"],
            "try trainer.dtype=float64, data.standardize=true, other settings of model=echo_state",
        ),
        (50.0, ["model=lds", "trainer.explode=5"], "take trainer.explode=inf: what learns by optimizer=em may begin"),
    ],
)
def test_what_to_try_is_what_the_run_has(loss, overrides, words):
    said = reason(loss, *overrides)
    assert words in said and "\n" not in said
    assert ("optimizer.lr" in said) == ("optimizer.lr" in words or "clip_norm" in words)


CONSTANT = ["data=mackey_glass", "data.start=1.0", "data.seed=null", "data.length=400"]  # its fixed point


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("model", ["hmm", "lds", "echo_state", "lstm", "delay_taps"])
def test_where_there_is_nothing_to_learn_models_learn_it(tmp_path, model, standardize):
    """Knowing nothing but the mean costs 0, of which no multiple tells anything."""
    overrides = [*CONSTANT, f"data.standardize={standardize}", f"model={model}", "scale=smoke", "tracking.uri=null"]
    run = trained(*overrides, f"paths.runs={tmp_path}")
    assert run.finished and run.facts["validation"] < 1


def test_a_network_that_does_not_know_the_mean_yet_has_not_diverged(tmp_path):
    overrides = ["data=sunspots", "data.standardize=false", "model=lstm", "scale=smoke", "tracking.uri=null"]
    run = trained(*overrides, "trainer.record_every=1", "trainer.explode=1.5", f"paths.runs={tmp_path}")
    assert run.finished and run.facts["validation"] > 1000


def test_a_run_whose_validation_is_not_a_number_has_diverged_and_not_finished(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runs.recorder.held_out", lambda *_, **of_ranks: HeldOut(math.nan, None, 1))
    overrides = ["data=sine", "scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}"]
    with pytest.raises(Refusal, match="the validation loss is nan at step 10, the training loss"):
        trained(*overrides)
    [run] = tmp_path.glob("single/*/run.json")
    assert '"status": "diverged"' in run.read_text() and "Infinity" not in run.read_text()
