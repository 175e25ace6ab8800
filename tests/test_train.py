"""The verb, as people and schedulers use it."""

import json
import math
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.files.whole import read_lines
from pipeline.runs.run import Run
from tests.conftest import ROOT, needs_steps, trained


def command(*arguments: str, verb: str = "train", **options):
    return subprocess.Popen(
        [sys.executable, "-m", f"pipeline.{verb}", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def finish(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def runs_in(folder):
    return sorted(file.parent for file in folder.glob("runs/*/*/run.json"))


def test_help_does_not_import_what_is_heavy():
    code = (
        "import sys; sys.argv = ['train', '--help']\n"
        "try:\n    from pipeline.train import main; main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'pytorch_lightning', 'mlflow', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "optimizer=rmsprop" in done.stdout


@pytest.mark.parametrize(
    "override, message",
    [
        ("model.layers=0", "model.layers=0: take a whole number from 1"),
        ("model.hidden=2.5", "model.hidden=2.5: take a whole number from 1"),
        ("seed=-1", "seed=-1: take a whole number from 0"),
        ("trainer.steps=0", "trainer.steps=0: take a whole number from 1"),
        ("trainer.batch=50000", "trainer.batch=50000 x trainer.length=16"),
        ("trainer.dtype=float7", "trainer.dtype=float7: take"),
        ("optimizer.lr=-1", "optimizer.lr=-1: take a number above 0"),
        ("data.name=nowhere", "python -m pipeline.fetch data="),
    ],
)
def test_nonsense_is_refused_before_any_work(run_in, tmp_path, override, message):
    with pytest.raises(Refusal, match=re.escape(message)) as refusal:
        run_in(override)
    assert "\n" not in str(refusal.value)
    assert not runs_in(tmp_path)


def test_a_refusal_is_one_line_on_a_terminal():
    code, out, err = finish(command("data=sine", "model.layers=0"))
    assert (code, out, err) == (1, "", "error: model.layers=0: take a whole number from 1 to 1,000\n")
    code, out, err = finish(command("study=architectures"))
    assert code == 1 and err.count("\n") == 1 and "add -m" in err
    code, out, err = finish(command("model=perceptron"))
    assert code == 1 and err.startswith("error: ") and "there is no such choice" in err and "lstm" in err


def test_a_finished_run_is_not_run_again_and_fresh_starts_over(run_in, capsys):
    run = run_in()
    stamp = run.last.stat().st_mtime_ns
    records = read_lines(run.metrics)
    run_in()
    assert "has finished already" in capsys.readouterr().out and run.last.stat().st_mtime_ns == stamp
    run_in("fresh=true")
    assert run.last.stat().st_mtime_ns != stamp
    again = read_lines(run.metrics)
    assert [{**record, "seconds": 0} for record in again] == [{**record, "seconds": 0} for record in records]


def test_a_loss_that_is_not_finite_or_explodes_stops_the_run_and_says_what_to_try(run_in, tmp_path):
    with pytest.raises(Refusal, match=r"at step 20.*optimizer\.lr.*clip_norm"):
        run_in(
            "optimizer=sgd",
            "optimizer.lr=1e4",
            "trainer.clip_value=null",
            "trainer.record_every=20",
            "trainer.validate_every=40",
            "trainer.sample.at=[]",
            "trainer.steps=60",
        )
    [path] = runs_in(tmp_path)
    assert json.loads((path / "run.json").read_text())["status"] == "diverged"
    overflowing = ["model=relu_rnn", "optimizer=sgd", "optimizer.lr=1e30", "trainer.steps=60"]
    with pytest.raises(Refusal, match="nan nats"):
        run_in(*overflowing)
    with pytest.raises(Refusal, match="has diverged already: .*nan nats.*fresh=true starts it over"):
        run_in(*overflowing)


def test_early_stop_waits_as_long_as_patience_says(run_in):
    run = run_in(
        "trainer.patience=2",
        "optimizer=sgd",
        "optimizer.lr=1e-12",
        "trainer.steps=200",
        "trainer.validate_every=5",
        "trainer.dtype=float32",
    )
    losses = [record["validation"] for record in read_lines(run.metrics) if "validation" in record]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 40 and run.finished


@pytest.mark.parametrize(
    "ending", [["trainer.patience=1", "optimizer.lr=1e-12"], ["trainer.seconds=0.5"], ["trainer.steps=20"]]
)
def test_a_run_killed_between_its_last_step_and_its_end_trains_no_further(run_in, ending):
    overrides = ["optimizer=sgd", "trainer.steps=100000", "trainer.validate_every=5", *ending]
    run = run_in(*overrides)
    records, step = read_lines(run.metrics), torch.load(run.last, weights_only=False)["global_step"]
    run.note(status="running")
    run_in(*overrides)
    assert run.finished and read_lines(run.metrics) == records
    assert torch.load(run.last, weights_only=False)["global_step"] == step


def test_the_best_validation_is_kept_not_the_last(run_in):
    run = run_in(
        "trainer.steps=60",
        "optimizer=sgd",
        "optimizer.lr=20",
        "trainer.validate_every=5",
        "trainer.clip_norm=1",
        "model=gru",
        "trainer.explode=100",
    )
    validated = [(record["validation"], record["step"]) for record in read_lines(run.metrics) if "validation" in record]
    best, last = torch.load(run.best), torch.load(run.last, weights_only=False)
    assert (best["validation"], best["step"]) == min(validated) and run.facts["validation"] == min(validated)[0]
    assert last["global_step"] == 60


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_a_signal_stops_cleanly_and_the_same_command_goes_on(small, tmp_path, number, code):
    overrides = [
        *small,
        "trainer.steps=100000",
        "trainer.record_every=10",
        "trainer.validate_every=50000",
        "trainer.sample.at=[]",
    ]
    process = command(*overrides)
    while not list(tmp_path.glob("runs/*/*/metrics.jsonl")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(number)
    got, out, err = finish(process)
    assert got == code and "stopped and saved: the same command goes on from here" in out and "Traceback" not in err
    [path] = runs_in(tmp_path)
    assert json.loads((path / "run.json").read_text())["status"] == "stopped"
    step = torch.load(path / "checkpoints" / "last.ckpt", weights_only=False)["global_step"]
    process = command(*overrides)
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    finish(process)
    assert "goes on" in line
    assert torch.load(path / "checkpoints" / "last.ckpt", weights_only=False)["global_step"] >= step > 0


def test_a_multirun_in_the_pool_trains_each_run_once_and_survives_a_bad_one(small, tmp_path):
    arguments = ["-m", *small, "hydra/launcher=local_pool", "model=rnn,lstm", "seed=0,1"]
    code, out, err = finish(command(*arguments))
    assert code == 0, err
    assert len(runs_in(tmp_path)) == 4 and out.count("  finished:") == 4
    code, out, err = finish(command(*arguments))
    assert code == 0 and out.count("has finished already") == 4
    code, out, err = finish(command("-m", *small, "model=gru", "model.layers=1,0"))
    assert code == 1 and "model.layers=0" in err and len(runs_in(tmp_path)) == 4  # before the first run
    code, out, err = finish(command("-m", *small, "model=gru", "trainer.length=50000,16"))
    assert code == 1 and "trainer.length=50000" in err and "Traceback" not in err
    assert len(runs_in(tmp_path)) == 5 and out.count("  finished:") == 1


@pytest.mark.parametrize("model", [["model=lstm"], ["model=mut1", "model.learned_initial_state=true"]])
def test_two_ranks_learn_what_one_process_learns(small, tmp_path, model):
    overrides = [
        *small,
        *model,
        "trainer.dtype=float64",
        "trainer.steps=90",
        "trainer.length=50",
        "trainer.accelerator=cpu",
    ]
    alone = trained(*overrides)
    overrides.append(f"paths.runs={tmp_path}/runs2")
    code, out, err = finish(command(*overrides, "trainer.devices=2"))
    assert code == 0, err
    [path] = (file.parent for file in tmp_path.glob("runs2/*/*/run.json"))
    assert path.name == alone.path.name
    ours, theirs = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False) for folder in (path, alone.path)
    )
    for name, value in theirs["state_dict"].items():
        torch.testing.assert_close(ours["state_dict"][name], value, rtol=1e-8, atol=1e-10)
    for part, expected in zip(ours["carried"], theirs["carried"], strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-8, atol=1e-10)
    for record, expected in zip(read_lines(path / "metrics.jsonl"), read_lines(alone.metrics), strict=True):
        for key in ("step", "targets", "train", "smoothed"):
            assert record[key] == pytest.approx(expected[key], rel=1e-9)
        assert math.isclose(record.get("validation", 0), expected.get("validation", 0), rel_tol=1e-9)


def test_a_time_budget_ends_the_run_with_a_validation(run_in):
    run = run_in("trainer.seconds=1", "trainer.steps=1000000", "trainer.validate_every=1000000", "trainer.sample.at=[]")
    last = read_lines(run.metrics)[-1]
    assert run.finished and 1 <= last["seconds"] < 3 and "validation" in last and last["step"] < 1000000


def test_targets_are_counted_as_they_are_asked(tmp_path):
    """An epoch's last window is shorter: of 216 years 215 are asked a pass, 54 steps of four streams but for one."""
    run = trained(
        "data=sunspots",
        "model=rnn",
        "scale=smoke",
        "trainer.steps=7",
        "trainer.record_every=1",
        "tracking.uri=null",
        f"paths.runs={tmp_path}/runs",
    )
    assert (run.config().trainer.batch, run.config().trainer.length) == (4, 25)
    targets = [record["targets"] for record in read_lines(run.metrics)]
    assert targets == [100, 200, 215, 315, 415, 430, 530]


def test_weights_are_kept_as_they_were_after_a_step(run_in):
    """As a run that ends there has them; they change neither who the run is nor what it becomes."""
    steady = ["model=rnn", "schedule=constant", "trainer.validate_every=3", "trainer.sample.every=null"]
    run = run_in(*steady, "trainer.steps=6", "trainer.weights_at=[2,5,9]")
    assert run.kept() == [2, 5]
    before = torch.load(run.last, weights_only=False)["state_dict"]
    earlier = dict(Run(run).earlier())
    assert list(earlier) == [2, 5]
    for step, network in earlier.items():
        alone = torch.load(run_in(*steady, f"trainer.steps={step}").last, weights_only=False)["state_dict"]
        found = network.state_dict()
        assert found and all(torch.equal(found[name], alone[f"network.{name}"]) for name in found)
    assert run_in(*steady, "trainer.steps=6").path == run.path
    whole = run_in(*steady, "trainer.steps=6", "fresh=true")
    after = torch.load(whole.last, weights_only=False)["state_dict"]
    assert whole.kept() == [] and all(torch.equal(before[name], after[name]) for name in before)
    run.weights(4).write_bytes(b"no weights")
    with pytest.raises(Refusal, match="step-4.ckpt is damaged .*: train the run again with fresh=true"):
        dict(Run(run).earlier())


@needs_steps
def test_the_engine_is_chosen_and_said_and_can_be_forced(run_in, capsys):
    for overrides, engine in (
        (["model=lstm"], "fused"),
        (["model=mut1", "trainer.engine=deferred"], "deferred"),
        (["model=mut2", "trainer.engine=reference"], "reference"),
    ):
        run_in(*overrides, "trainer.steps=2")
        assert f"{engine} recurrence (trainer.engine)" in capsys.readouterr().out
    with pytest.raises(Refusal, match="PyTorch has no kernel for this cell"):
        run_in("model=mut3", "trainer.engine=library")
