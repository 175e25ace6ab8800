import multiprocessing
from pathlib import Path

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.files.whole import read_lines
from pipeline.runs.building import load_network
from pipeline.runs.tracking import database
from tests.conftest import composed, trained

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["pipeline.runs.session", "mlflow.pytorch"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    return [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.artifacts={folder}/artifacts"], folder


def client(folder):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def test_eight_processes_make_one_database_and_write_at_once(small, store):
    tracking, folder = store
    overrides = [*small[:-1], *tracking, "trainer.steps=4"]
    processes = [FORKED.Process(target=trained, args=(*overrides, f"seed={seed}")) for seed in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    experiment = client(folder).get_experiment_by_name("single")
    runs = client(folder).search_runs([experiment.experiment_id])
    assert sorted(int(run.data.params["seed"]) for run in runs) == list(range(8))
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_runs_page_holds_everything(small, store):
    tracking, folder = store
    overrides = [*small[:-1], *tracking, "seed=100"]
    cfg, directory = composed(*overrides), trained(*overrides)
    run = client(folder).get_run(directory.facts["mlflow_run_id"])
    assert run.info.run_name == directory.path.name and run.info.status == "FINISHED"
    assert run.data.params["model.hidden"] == "16" and run.data.params["optimizer.lr"] == "0.002"
    assert run.data.params["trainer.sample.temperature"] == "1.0"
    assert directory.facts["units"]["also"] == {"bits": pytest.approx(1 / 0.693147180559945)}
    for loss in ("train", "smoothed", "validation"):
        assert run.data.metrics[f"{loss}_bits"] == pytest.approx(run.data.metrics[loss] / 0.693147180559945)
    last = read_lines(directory.metrics)[-1]
    assert run.data.metrics["right"] == last["right"] and 0 < last["right"] < 1
    assert run.data.metrics["targets"] == last["targets"] == 20 * cfg.trainer.batch * cfg.trainer.length
    [data] = run.inputs.dataset_inputs
    card = load_data(cfg.data).card
    assert data.dataset.name == "text" and card["fingerprint"].startswith(data.dataset.digest)
    assert run.data.tags["mlflow.source.git.commit"] == directory.facts["code"]["commit"]
    files = {file.path for file in client(folder).list_artifacts(run.info.run_id)}
    assert files >= {"loss.png", "config.yaml", "samples"}
    samples = read_lines(directory.samples)
    story = run.data.tags["mlflow.note.content"]
    assert story.startswith("### at first (step 10)") and "### at last (step 20)" in story
    assert samples[0]["text"] in story and samples[-1]["text"] in story


def test_a_series_has_its_page_too(store, tmp_path):
    """Losses in one unit, nothing that says what is right, forecasts as samples."""
    tracking, folder = store
    directory = trained(
        "data=sine", "data.length=2000", "scale=smoke", "model=rnn", f"paths.runs={tmp_path}/runs", *tracking
    )
    run = client(folder).get_run(directory.facts["mlflow_run_id"])
    assert {"train", "smoothed", "validation", "targets", "seconds", "rate"} <= set(run.data.metrics)
    assert not {"right", "train_bits", "validation_bits"} & set(run.data.metrics)
    assert directory.facts["units"]["loss"] == "squared error" and directory.facts["units"]["also"] == {}
    samples = read_lines(directory.samples)
    story = run.data.tags["mlflow.note.content"]
    assert samples[-1]["text"].startswith("observed ") and samples[-1]["text"] in story


def test_the_model_loads_back_from_mlflow(small, store, monkeypatch):
    import mlflow

    tracking, folder = store
    overrides = [*small[:-1], *tracking, "seed=101"]
    directory = trained(*overrides)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    network = mlflow.pytorch.load_model(f"runs:/{directory.facts['mlflow_run_id']}/model")
    expected = load_network(directory, load_data(composed(*overrides).data))
    symbols = torch.tensor([[1], [2], [3]])
    assert torch.equal(network(symbols, network.start(1))[0], expected(symbols, expected.start(1))[0])


def test_a_server_that_is_not_there_is_refused_in_a_line(small):
    with pytest.raises(
        Refusal,
        match=r"^tracking\.uri=http://127\.0\.0\.1:9: .*start it, or train without tracking \(tracking\.uri=null\)$",
    ):
        trained(*small[:-1], "tracking.uri=http://127.0.0.1:9")


def test_a_server_that_goes_away_costs_nothing_and_gets_the_record_later(small, store, monkeypatch, capsys):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    tracking, folder = store
    overrides = [*small[:-1], *tracking, "seed=102"]

    def away(*arguments, **named):
        raise MlflowException("nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", away)
        patch.setattr(MlflowClient, "log_text", away)
        patch.setattr(
            "pipeline.runs.tracking.Tracking.create",
            classmethod(
                lambda cls, cfg, *rest: (
                    client(folder)
                    .create_run(client(folder).create_experiment("away", artifact_location=f"{folder}/away"))
                    .info.run_id
                )
            ),
        )
        with pytest.raises(Refusal, match="the training is done and kept"):
            trained(*overrides)
    assert "MLflow cannot be reached, its record waits (nobody answers)" in capsys.readouterr().out
    run = trained(*overrides)
    history = client(folder).get_metric_history(run.facts["mlflow_run_id"], "train")
    assert [metric.step for metric in history] == [record["step"] for record in read_lines(run.metrics)]


def test_the_database_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mlflow.db.ready").touch()
    assert database("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert database("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
