"""A run whose MLflow server ends, moves and comes back: here one in this process, at another port each time."""

import os
import shutil
import signal
import threading

import pytest
from werkzeug.serving import make_server

from pipeline.command.refusal import Refusal
from pipeline.files.whole import read_lines
from pipeline.runs import mirror as module
from pipeline.runs import scheduler
from pipeline.runs.directory import RunDirectory
from pipeline.runs.measured import write_back
from pipeline.runs.recorder import Recorder
from pipeline.runs.settling import directory_of
from pipeline.runs.tracking import database
from slurm.queue import ended
from tests.conftest import composed, trained


class Server:
    """MLflow's own application, which says in the file `address` where it is."""

    def __init__(self, folder):
        self.folder, self.file, self.serving = folder, folder / "address", None
        self.settings = {
            "FILE_STORE": f"sqlite:///{folder}/mlflow.db",
            "ARTIFACT_ROOT": "mlflow-artifacts:/",
            "ARTIFACT_DESTINATION": f"{folder}/artifacts",
            "SERVE_ARTIFACTS": "true",
        }

    def start(self) -> None:
        import mlflow.server
        from mlflow.server import handlers

        for name, value in self.settings.items():
            os.environ[f"_MLFLOW_SERVER_{name}"] = value
        handlers._tracking_store = handlers._artifact_repo = handlers._model_registry_store = None
        self.serving = make_server("127.0.0.1", 0, mlflow.server.app, threaded=True)
        threading.Thread(target=self.serving.serve_forever).start()
        self.file.write_text(f"http://127.0.0.1:{self.serving.server_port}\n")

    def end(self) -> None:
        if self.serving is not None:
            self.serving.shutdown()
            self.serving.server_close()
            self.serving = None


@pytest.fixture(scope="module")
def database_without_runs(tmp_path_factory):
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    database(f"sqlite:///{file}")
    return file


@pytest.fixture
def server(database_without_runs, tmp_path, monkeypatch):
    folder = tmp_path / "mlflow-server"
    folder.mkdir()
    shutil.copy(database_without_runs, folder / "mlflow.db")
    server = Server(folder)
    for name in server.settings:
        monkeypatch.setenv(f"_MLFLOW_SERVER_{name}", "")  # taken away afterwards
    yield server
    server.end()


@pytest.fixture
def job(monkeypatch):
    """This process is a job of SLURM, which waits for no server at its end."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    monkeypatch.setattr(scheduler, "JOB", "7")
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def is_whole(server: Server, run: RunDirectory):
    from mlflow import MlflowClient

    client = MlflowClient(server.file.read_text().strip())
    [found] = client.search_runs([client.get_experiment_by_name("single").experiment_id])
    assert (found.info.run_id, found.info.status) == (run.facts["mlflow_run_id"], "FINISHED")
    history = client.get_metric_history(found.info.run_id, "loss/train")
    assert [(metric.step, metric.value) for metric in history] == [
        (record["step"], record["train"]) for record in read_lines(run.metrics)
    ]
    assert found.data.params["seed"] == "0" and len(found.inputs.dataset_inputs) == 1
    files = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert files >= {"loss.png", "config.yaml", "samples", "samples.md"}
    return found


def at_step(monkeypatch, events: dict) -> None:
    """Each event happens before what its step sends."""
    before = Recorder.on_train_batch_end

    def after_step(self, trainer, learning, *rest):
        events.pop(learning.global_step, lambda: None)()
        return before(self, trainer, learning, *rest)

    monkeypatch.setattr(Recorder, "on_train_batch_end", after_step)


OFTEN = ["trainer.record_every=1", "trainer.checkpoint_every=2"]


def test_a_server_that_ends_and_comes_back_elsewhere_gets_the_whole_record(small, server, job, monkeypatch, capsys):
    server.start()
    at_step(monkeypatch, {4: server.end, 10: server.start})
    run = trained(*small[:-1], *OFTEN, f"tracking.uri={server.file}")
    is_whole(server, run)
    assert run.facts["mlflow_waits"] is False
    assert run.facts["mlflow_records"] == {f"{server.file}": run.facts["mlflow_run_id"]}
    said = capsys.readouterr().out
    assert said.count("MLflow cannot be reached, its record waits (nobody answers at http://127.0.0.1:") == 1
    assert said.count("MLflow answers again, at http://127.0.0.1:") == 1


def test_a_server_that_comes_back_without_the_record_gets_it_anew(
    small, server, job, database_without_runs, monkeypatch
):
    def restart_empty():
        server.end()
        shutil.copy(database_without_runs, server.folder / "mlflow.db")
        server.start()

    server.start()
    at_step(monkeypatch, {10: restart_empty})
    is_whole(server, trained(*small[:-1], *OFTEN, f"tracking.uri={server.file}"))


def test_a_job_that_finds_nobody_trains_to_its_end_and_the_record_follows(small, server, job, capsys):
    overrides = [*small[:-1], *OFTEN, f"tracking.uri={server.file}"]
    run = trained(*overrides)
    assert not ended(run.path)
    assert run.finished and run.facts["mlflow_waits"] is True and run.facts["mlflow_run_id"] is None
    said = capsys.readouterr().out
    assert said.count("MLflow cannot be reached, its record waits (no server has said there where it is") == 1
    trained(*overrides)  # nobody yet
    assert run.facts["mlflow_waits"] is True
    server.start()
    trained(*overrides)
    assert run.facts["mlflow_waits"] is False and ended(run.path)
    is_whole(server, run)


def test_evaluation_sends_what_has_waited(small, server, job, monkeypatch):
    overrides = [*small[:-1], f"tracking.uri={server.file}"]
    run = trained(*overrides)
    server.start()
    monkeypatch.setattr(scheduler, "JOB", None)
    found = {"directory": f"{run.path}", "label": "lstm 1x16", "seed": 0, "units": run.facts["units"]}
    write_back(composed(*overrides), [found | {"probes": {}, "measured": {"nats": 2.0}}])
    assert is_whole(server, run).data.metrics["measured/nats"] == 2.0 and run.facts["mlflow_waits"] is False


def test_a_job_whose_server_comes_while_it_trains_begins_a_record_then(small, server, job, monkeypatch):
    at_step(monkeypatch, {10: server.start})
    is_whole(server, trained(*small[:-1], *OFTEN, f"tracking.uri={server.file}"))


def test_a_record_that_was_made_by_half_is_completed(small, server, job, monkeypatch):
    """The server ends between the making of a record and the last word of its description."""
    from mlflow import MlflowClient

    send, failures = MlflowClient.log_inputs, [ConnectionError("gone")] * 2

    def log_inputs(*arguments, **named):
        if failures:
            raise failures.pop()
        send(*arguments, **named)

    monkeypatch.setattr(MlflowClient, "log_inputs", log_inputs)
    server.start()
    is_whole(server, trained(*small[:-1], *OFTEN, f"tracking.uri={server.file}"))


def test_outside_a_job_a_server_that_is_not_there_is_asked_for(small, server):
    with pytest.raises(
        Refusal, match=rf"^tracking\.uri={server.file}: no server .*: start it \(sbatch slurm/mlflow_serv"
    ):
        trained(*small[:-1], f"tracking.uri={server.file}")
    assert not directory_of(composed(*small)).exists()
