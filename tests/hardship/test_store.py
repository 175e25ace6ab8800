"""One sqlite database of MLflow, made and written by many at once, loses nothing."""

import pytest

from pipeline.files.whole import read_lines
from pipeline.runs.directory import RunDirectory
from tests.conftest import trained
from tests.runs.test_resume import FORKED

WRITERS = 8


@pytest.mark.hardship
def test_eight_processes_write_one_store(small, tmp_path):
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path}/mlflow.db"
    overrides = [*small[:-1], f"tracking.uri={store}", f"tracking.artifacts={tmp_path}/artifacts"]
    overrides += ["trainer.steps=60", "trainer.record_every=1", "trainer.checkpoint_every=5", "trainer.sample.every=10"]
    writers = [FORKED.Process(target=trained, args=(*overrides, f"seed={seed}")) for seed in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS

    client = MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("single").experiment_id])
    assert sorted(int(run.data.params["seed"]) for run in runs) == list(range(WRITERS))
    kept = {one.facts["mlflow_run_id"]: one for one in map(RunDirectory, tmp_path.glob("runs/single/*-s?"))}
    assert set(kept) == {run.info.run_id for run in runs} and {run.info.status for run in runs} == {"FINISHED"}
    for id, run in kept.items():
        metrics = read_lines(run.metrics)
        assert [record["step"] for record in metrics] == list(range(1, 61))
        for key in ("train", "smoothed", "validation", "targets"):
            name = key if key == "targets" else f"loss/{key}"
            there = {metric.step: metric.value for metric in client.get_metric_history(id, name)}
            assert there == {record["step"]: record[key] for record in metrics if key in record}
        samples = [file.path for file in client.list_artifacts(id, "samples")]
        assert samples == [f"samples/step_{sample['step']:08d}.txt" for sample in read_lines(run.samples)]
