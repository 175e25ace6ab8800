"""A run killed at any moment and taken up again ends bit for bit as one never killed."""

import multiprocessing
import os
import signal

import pytest
import torch

from pipeline.files.whole import read_lines
from tests.conftest import prepared_text, trained, words

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["pipeline.runs.session", "mlflow.pyfunc"])
RUN = [
    "scale=smoke",
    "trainer.steps=40",
    "trainer.validate_every=10",
    "trainer.checkpoint_every=5",
    "trainer.record_every=3",
    "trainer.sample.every=10",
    "trainer.sample.at=[4]",
    "trainer.sample.length=20",
    "model.layers=2",
    "model.dropout=0.3",
    "model.weight_drop=0.2",
    "trainer.ema_decay=0.9",
    "optimizer=adam",
    "schedule=cosine",
    "schedule.warmup=5",
    "seed=7",
]


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_step(count: int) -> None:
    """In the middle of training step `count`, after its forward pass and before the parameters change."""
    from pipeline.learning.learning import Learning

    Learning.record = _at_call(count, Learning.record)


def kill_while_writing(name: str, count: int) -> None:
    """When half of the `count`th file called `name` has reached the disk."""
    import pipeline.files.whole as files

    whole = files.os.fsync

    def fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if f".{name}." in path:
            kill_while_writing.seen += 1
            if kill_while_writing.seen == count:
                os.truncate(path, os.path.getsize(path) // 2)
                die()
        whole(descriptor)

    kill_while_writing.seen = 0
    files.os.fsync = fsync


def kill_before_pushing(count: int) -> None:
    """After a checkpoint, before MLflow has heard of it."""
    from pipeline.runs.tracking import Tracking

    Tracking.push = _at_call(count, Tracking.push)


def kill_between_samples_and_metrics(count: int) -> None:
    """While MLflow is receiving: the samples are there, the metrics are not."""
    from mlflow import MlflowClient

    MlflowClient.set_tag = _at_call(count, MlflowClient.set_tag)


def kill_at_the_end() -> None:
    """When training is done and MLflow has the model, before the run is called finished."""
    from mlflow import MlflowClient

    MlflowClient.set_terminated = die


def _at_call(count: int, function):
    calls = iter(range(1, 10**6))
    return lambda *arguments, **named: die() if next(calls) == count else function(*arguments, **named)


MOMENTS = {
    "before any checkpoint": [(kill_in_step, 3)],
    "in a step": [(kill_in_step, 23)],
    "in a step right after a checkpoint": [(kill_in_step, 21)],
    "while last.ckpt is written the first time": [(kill_while_writing, "last.ckpt", 1)],
    "while last.ckpt is written": [(kill_while_writing, "last.ckpt", 4)],
    "while best.ckpt is written": [(kill_while_writing, "best.ckpt", 2)],
    "before MLflow is told": [(kill_before_pushing, 4)],
    "while MLflow is told": [(kill_between_samples_and_metrics, 2)],
    "at the end": [(kill_at_the_end,)],
    "three times": [(kill_in_step, 12), (kill_while_writing, "last.ckpt", 2), (kill_in_step, 9)],
}


def child(overrides, plan):
    plan[0](*plan[1:])
    trained(*overrides)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    overrides = [
        *prepared_text(folder, words(4000)),
        *RUN,
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
        f"tracking.artifacts={folder}/artifacts",
    ]
    return overrides, trained(*overrides), folder


def records(path):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in read_lines(path)]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_equals_uninterrupted(whole, tmp_path, moment):
    from mlflow import MlflowClient

    overrides, expected, folder = whole
    overrides = [*overrides, f"paths.runs={tmp_path}/runs"]
    for plan in MOMENTS[moment]:
        process = FORKED.Process(target=child, args=(overrides, plan))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    run = trained(*overrides)

    assert run.path.name == expected.path.name
    assert records(run.metrics) == records(expected.metrics)
    assert read_lines(run.samples) == read_lines(expected.samples)
    for ours, theirs in ((run.last, expected.last), (run.best, expected.best)):
        same(torch.load(ours, weights_only=False), torch.load(theirs, weights_only=False))

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("single").experiment_id], "params.seed = '7'")
    assert run.facts["mlflow_run_id"] in {one.info.run_id for one in found}
    mlflow_run = client.get_run(run.facts["mlflow_run_id"])
    assert mlflow_run.info.status == "FINISHED"
    for key in ("train", "validation"):
        found = client.get_metric_history(mlflow_run.info.run_id, f"loss/{key}")
        history = [(metric.step, metric.value) for metric in found]
        assert sorted(history) == [(record["step"], record[key]) for record in read_lines(run.metrics) if key in record]
    samples = [file.path for file in client.list_artifacts(mlflow_run.info.run_id, "samples")]
    assert samples == [f"samples/step_{sample['step']:08d}.txt" for sample in read_lines(run.samples)]


def same(ours, theirs, place=""):
    """Equal to the bit, but for what measures time."""
    assert type(ours) is type(theirs), place
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), place
        for key in ours:
            if key != "seconds":
                same(ours[key], theirs[key], f"{place}.{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), place
        for index, pair in enumerate(zip(ours, theirs)):
            same(*pair, f"{place}[{index}]")
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), place
    else:
        assert ours == theirs, place


def test_two_processes_may_not_train_one_run(whole, tmp_path):
    from pipeline.command.refusal import Refusal
    from pipeline.runs.directory import RunDirectory

    run = RunDirectory(tmp_path / "study" / "run")
    lock = run.lock()
    with pytest.raises(Refusal, match="run is being trained by process"):
        RunDirectory(run.path).lock()
    lock.release()
    RunDirectory(run.path).lock().release()
