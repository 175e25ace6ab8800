import http.server
import json
import multiprocessing
import shutil
import signal
import sqlite3
import threading
from contextlib import closing, nullcontext, suppress

import pytest
import torch
from omegaconf import OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.files.whole import read_lines
from pipeline.runs import tracking as tracking_module
from pipeline.runs.building import load_network
from pipeline.runs.directory import RunDirectory
from pipeline.runs.measured import write_back
from pipeline.runs.relocation import relocate
from pipeline.runs.session import train_run
from pipeline.runs.settling import directory_of
from pipeline.runs.tracking import NOTE, NOTED, Tracking, _note, _story, database, kept, refuse_unusable
from tests.conftest import composed, trained

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["pipeline.runs.session", "mlflow.pyfunc"])


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


@pytest.mark.parametrize("written", [True, False])
def test_another_process_may_describe_the_experiment_first(small, store, monkeypatch, written):
    """Of two processes that insert a tag at once, the second one breaks the table's rule that it is there once."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    said = [*small[:-1], *store[0], f"study.name=described{written}", "+study.question=Why?"]
    described = Tracking.connect(composed(*said)).experiment
    assert described.tags[NOTED] == "Why?" and described.tags["mlflow.experimentKind"]
    insert = MlflowClient.set_experiment_tag

    def late(client, *tag):
        if written:
            insert(client, *tag)
        raise MlflowException("UNIQUE constraint failed: experiment_tags.key, experiment_tags.experiment_id")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", late)
    said[-1] = "+study.question=How?"
    with nullcontext() if written else pytest.raises(MlflowException, match="UNIQUE"):
        again = Tracking.connect(composed(*said))
        assert again.client.get_experiment(described.experiment_id).tags[NOTED] == "How?"


def test_the_runs_page_holds_everything(small, store):
    tracking, folder = store
    overrides = [*small[:-1], *tracking, "seed=100"]
    cfg, directory = composed(*overrides), trained(*overrides)
    run = client(folder).get_run(directory.facts["mlflow_run_id"])
    assert run.info.run_name == "lstm 1x16 text rmsprop s100" and run.info.status == "FINISHED"
    assert run.data.params["model.hidden"] == "16" and run.data.params["optimizer.lr"] == "0.002"
    assert run.data.params["trainer.sample.temperature"] == "1.0"
    assert directory.facts["units"]["also"] == {"bits": pytest.approx(1 / 0.693147180559945)}
    last, metrics = read_lines(directory.metrics)[-1], run.data.metrics
    for loss in ("train", "smoothed", "validation"):
        assert metrics[f"loss/{loss}"] == last[loss]
        assert metrics[f"bits/{loss}"] == pytest.approx(last[loss] / 0.693147180559945)
    assert metrics["right/validation"] == last["right"] and 0 < last["right"] < 1
    assert metrics["targets"] == last["targets"] == 20 * cfg.trainer.batch * cfg.trainer.length
    assert metrics["parameters"] == directory.facts["parameters"] > 0 and "rate" not in metrics
    assert metrics["chars_per_second"] == pytest.approx(last["targets"] / last["seconds"])
    assert run.data.tags["run"] == directory.path.name
    [data] = run.inputs.dataset_inputs
    card = load_data(cfg.data).card
    assert data.dataset.name == "text" and card["fingerprint"].startswith(data.dataset.digest)
    assert run.data.tags["mlflow.source.git.commit"] == directory.facts["code"]["commit"]
    files = {file.path for file in client(folder).list_artifacts(run.info.run_id)}
    assert files >= {"loss.png", "config.yaml", "samples", "samples.md"}
    samples = read_lines(directory.samples)
    story = run.data.tags["mlflow.note.content"]
    assert story.startswith("### at first (step 10)") and "### at last (step 20)" in story
    assert samples[0]["text"] in story and samples[-1]["text"] in story


def test_a_series_has_its_page_too(store, tmp_path):
    """Losses in one unit, nothing that says what is right, forecasts as samples."""
    tracking, folder = store
    directory = trained(
        *("data=sine", "data.length=2000", "scale=smoke", "model=rnn", "schedule=cosine"),
        *(f"paths.runs={tmp_path}/runs", "trainer.record_every=5", *tracking),
    )
    run = client(folder).get_run(directory.facts["mlflow_run_id"])
    assert {key for key in run.data.metrics if "second" not in key} == {
        *(f"loss/{loss}" for loss in ("train", "smoothed", "validation")),
        *("targets", "parameters", "rate"),
    }
    rates = [record["rate"] for record in read_lines(directory.metrics)]
    sent = client(folder).get_metric_history(run.info.run_id, "rate")
    assert [metric.value for metric in sent] == rates and len(set(rates)) > 1
    assert directory.facts["units"]["loss"] == "squared error" and directory.facts["units"]["also"] == {}
    samples = read_lines(directory.samples)
    story = run.data.tags["mlflow.note.content"]
    assert samples[-1]["text"].startswith("observed ") and samples[-1]["text"] in story


def test_what_is_measured_is_written_back_to_the_record(small, store, monkeypatch, capsys):
    from mlflow.exceptions import MlflowException

    tracking, folder = store
    cfg = composed(*small[:-1], *tracking, "study.name=mine", "+study.question=Why?", "+study.description='So.'")
    train_run(cfg)
    run = RunDirectory(directory_of(cfg))
    without = trained(*small)
    found = {"directory": str(run.path), "label": "lstm 1x16", "seed": 0, "units": run.facts["units"]}
    found |= {"probes": {"prediction": {"loss": 2.0, "part": "test"}, "other": {"loss": 9.0, "part": "validation"}}}
    found |= {"measured": {"nats": 2.0, "right": None, "closed": float("nan"), "words": 0.5}}
    for words in (0.5, 0.5, 0.25):
        found["measured"]["words"] = words
        write_back(cfg, [found, found | {"directory": str(without.path)}])
    there = client(folder).get_run(run.facts["mlflow_run_id"])
    assert there.info.run_name == "lstm 1x16 s0" and there.info.status == "FINISHED"
    metrics = {key: value for key, value in there.data.metrics.items() if "test" in key or "measured" in key}
    assert metrics == {
        "loss/test": 2.0,
        "bits/test": pytest.approx(2 / 0.693147180559945),
        "measured/nats": 2.0,
        "measured/words": 0.25,
    }
    history = {key: client(folder).get_metric_history(there.info.run_id, key) for key in metrics}
    assert [len(one) for one in history.values()] == [1, 1, 1, 2] and history["loss/test"][0].step == 20
    assert client(folder).get_experiment_by_name("mine").tags["mlflow.note.content"] == "Why?\n\nSo."

    def away(*_):
        raise MlflowException("nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "connect", None)  # MLflow is not even loaded where it has no record
        write_back(cfg, [found | {"directory": str(without.path)}])
    monkeypatch.setattr(Tracking, "measured", away)
    capsys.readouterr()
    write_back(cfg, [found])
    assert capsys.readouterr().out.startswith("MLflow lacks what was measured: tracking.uri=sqlite:///")


def test_the_model_is_logged_once_and_loads_back(small, store, monkeypatch):
    """Also where MLflow went away while it was being logged."""
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def away(*arguments, **named):
        raise MlflowException("")

    tracking, folder = store
    overrides = [*small[:-1], *tracking, "seed=101"]
    for lost in ("log_model_artifacts", "finalize_logged_model", "set_terminated"):
        with monkeypatch.context() as patch, suppress(Refusal):
            patch.setattr(MlflowClient, lost, away)
            trained(*overrides)
    directory = trained(*overrides)
    run = client(folder).get_run(directory.facts["mlflow_run_id"])
    [model] = client(folder).search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert model.status == "READY" and {each.model_id for each in run.outputs.model_outputs} == {model.model_id}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model", suppress_warnings=True)
    network, expected = loaded.get_raw_model(), load_network(directory, load_data(composed(*overrides).data))
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
        patch.setattr(Tracking, "_describe", lambda *_: None)
        with pytest.raises(Refusal, match="the training is done and kept"):
            trained(*overrides)
    assert "MLflow cannot be reached, its record waits (nobody answers)" in capsys.readouterr().out
    run = trained(*overrides)
    history = client(folder).get_metric_history(run.facts["mlflow_run_id"], "loss/train")
    assert [metric.step for metric in history] == [record["step"] for record in read_lines(run.metrics)]


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A database without a run, made where another one was: its maker has left an old mark that it was made, half of
    one that was killed, an empty file."""
    folder = tmp_path_factory.mktemp("empty")
    for name, content in {"mlflow.db.ready": "", "mlflow.db.new": "half", "mlflow.db": ""}.items():
        (folder / name).write_text(content)
    database(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


def test_a_database_that_is_gone_is_made_again(empty):
    assert client(empty.parent).get_experiment_by_name("single") is None


def test_the_database_path_is_made_absolute(empty, tmp_path, monkeypatch):
    shutil.copy(empty, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert database("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert database("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    "uri", [123, "", "mlflow.db", "./mlruns", "file:///tmp/mlruns", "sqlit:///mlflow.db", "sqlite://", "sqlite:///"]
)
def test_what_is_no_address_of_mlflow_is_refused(uri):
    with pytest.raises(Refusal, match=rf"^tracking\.uri={uri}(:| names) .*take sqlite:///mlflow\.db.*$"):
        refuse_unusable(OmegaConf.create({"uri": uri, "artifacts": "mlartifacts"}))


@pytest.mark.parametrize("artifacts", [None, "", 5])
def test_artifacts_without_a_folder_are_refused(artifacts):
    with pytest.raises(Refusal, match=rf"^tracking\.artifacts={artifacts}: name the folder .*tracking\.uri=null$"):
        refuse_unusable(OmegaConf.create({"uri": "sqlite:///mlflow.db", "artifacts": artifacts}))
    refuse_unusable(OmegaConf.create({"uri": "http://127.0.0.1:5000", "artifacts": artifacts}))


def test_a_finished_run_does_not_hide_a_wrong_address(small):
    trained(*small)
    with pytest.raises(Refusal, match=r"^tracking\.uri=123: "):
        trained(*small[:-1], "tracking.uri=123")


def other_program(file):
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("CREATE TABLE bookmarks (url)")


SPOILT = {
    "noise": lambda file, whole: file.write_bytes(bytes(range(256)) * 100),
    "zeros": lambda file, whole: file.write_bytes(bytes(20000)),
    "cut": lambda file, whole: file.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2]),
    "another program's": lambda file, whole: other_program(file),
    "a folder": lambda file, whole: file.mkdir(),
    "in a file": lambda file, whole: file.parent.write_text(""),
    "locked": lambda file, whole: shutil.copy(whole, file),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_database_that_cannot_be_used_is_refused_and_left_alone(empty, tmp_path, monkeypatch, how):
    file = tmp_path / "kept" / "mlflow.db"
    if how != "in a file":
        file.parent.mkdir()
    SPOILT[how](file, empty)
    before = file.read_bytes() if file.is_file() else None
    monkeypatch.setattr(tracking_module, "LOCKED", 0.1)
    with closing(sqlite3.connect(file if how == "locked" else ":memory:")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Refusal, match=rf"^tracking\.uri=sqlite:///{file}: .*\(tracking\.uri=null\)$") as refusal:
            database(f"sqlite:///{file}")
    assert ("wait for the program" if how == "locked" else "move it away") in str(refusal.value)
    assert before is None or file.read_bytes() == before


def test_nothing_is_forgotten_for_a_database_that_cannot_be_used(small, tmp_path):
    run = trained(*small)
    (tmp_path / "mlflow.db").write_text("noise" * 1000)
    with pytest.raises(Refusal, match="file is not a database"):
        trained(*small[:-1], f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "fresh=true")
    assert run.finished and run.best.exists()


@pytest.fixture
def own(empty, tmp_path):
    """Overrides that name a database without a run; there is another one in empty.db."""
    for name in ("mlflow.db", "empty.db"):
        shutil.copy(empty, tmp_path / name)
    return [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"tracking.artifacts={tmp_path}/artifacts"]


def delete_run(folder, run):
    client(folder).delete_run(run.facts["mlflow_run_id"])


def delete_run_for_good(folder, run):
    with closing(sqlite3.connect(folder / "mlflow.db")) as opened:
        tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if any(column[1] == "run_uuid" for column in opened.execute(f"PRAGMA table_info({table})")):
                opened.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run.facts["mlflow_run_id"],))
        opened.commit()


def delete_experiment(folder, run):
    client(folder).delete_experiment(client(folder).get_experiment_by_name("single").experiment_id)


def delete_database(folder, run):
    shutil.copy(folder / "empty.db", folder / "mlflow.db")


def is_whole(folder, run, status="FINISHED"):
    found = client(folder).get_run(run.facts["mlflow_run_id"])
    assert (found.info.lifecycle_stage, found.info.status) == ("active", status)
    history = client(folder).get_metric_history(found.info.run_id, "loss/train")
    assert [metric.step for metric in history] == [record["step"] for record in read_lines(run.metrics)]
    assert {file.path for file in client(folder).list_artifacts(found.info.run_id, "samples")} == {
        f"samples/step_{sample['step']:08d}.txt" for sample in read_lines(run.samples)
    }
    return found


LOST = (delete_run, delete_run_for_good, delete_experiment, delete_database)


def test_a_finished_run_that_mlflow_has_lost_is_sent_again(small, own, tmp_path, monkeypatch, capsys):
    overrides = [*small[:-1], *own]
    run = trained(*overrides)
    for lose in LOST:
        lose(tmp_path, run)
        before = run.facts["mlflow_run_id"]
        capsys.readouterr()
        trained(*overrides)
        said = capsys.readouterr().out
        if lose is delete_experiment:  # its runs come back with it
            assert f"sqlite:///{tmp_path}/mlflow.db: experiment single had been deleted there: restored" in said
        else:
            assert f"{run.path}  has no record in sqlite:///{tmp_path}/mlflow.db: a new one gets all there is" in said
            assert run.facts["mlflow_run_id"] != before
        files = {file.path for file in client(tmp_path).list_artifacts(is_whole(tmp_path, run).info.run_id)}
        assert files >= {"loss.png", "config.yaml", "samples", "samples.md"}
    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "connect", None)  # nothing is wrong, and MLflow is not even loaded
        trained(*overrides)
        assert " has no record " not in capsys.readouterr().out
    (tmp_path / "mlflow.db").unlink()
    assert not kept(composed(*overrides).tracking, run.facts)


def stopped(monkeypatch, *overrides):
    """A run that SIGTERM has stopped at its first validation."""
    from pipeline.runs.recorder import Recorder

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        sample = Recorder._sample

        def stopping(*arguments):
            signal.raise_signal(signal.SIGTERM)
            return sample(*arguments)

        patch.setattr(Recorder, "_sample", stopping)
        trained(*overrides)


@pytest.mark.parametrize("lose", LOST[:3])
def test_a_run_that_goes_on_sends_all_that_mlflow_has_lost(small, own, tmp_path, monkeypatch, capsys, lose):
    overrides = [*small[:-1], *own]
    stopped(monkeypatch, *overrides)
    run = RunDirectory(directory_of(composed(*overrides)))
    assert run.facts["status"] == "stopped" and len(read_lines(run.metrics)) == 1
    lose(tmp_path, run)
    trained(*overrides)
    assert len(read_lines(run.metrics)) == 2
    is_whole(tmp_path, run)
    said = capsys.readouterr().out
    assert ("had been deleted there: restored" if lose is delete_experiment else "  has no record in ") in said


def test_another_mlflow_gets_a_record_of_its_own_once(small, own, tmp_path, capsys):
    here = [*small[:-1], *own]
    (tmp_path / "empty.db").rename(tmp_path / "b.db")
    there = [*small[:-1], f"tracking.uri=sqlite:///{tmp_path}/b.db", f"tracking.artifacts={tmp_path}/b"]
    run = trained(*small)  # without MLflow
    said = []
    for overrides in (here, there, here, there):
        capsys.readouterr()
        trained(*overrides)
        said.append("  has no record in " in capsys.readouterr().out)
        if len(said) == 1:
            is_whole(tmp_path, run)
    assert said == [True, True, False, False]
    moved = tmp_path / "moved.db"  # the same database by another name
    (tmp_path / "b.db").rename(moved)
    before = run.facts["mlflow_run_id"]
    trained(*small[:-1], f"tracking.uri=sqlite:///{moved}", f"tracking.artifacts={tmp_path}/b")
    assert run.facts["mlflow_run_id"] == before and "  has no record in " not in capsys.readouterr().out


def test_a_server_is_asked_whether_it_still_has_a_record():
    """Without MLflow; what is no clear answer changes nothing."""
    answers = {}

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            code, body = answers[self.path.partition("=")[2]]
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    def info(stage, status):
        return {"run": {"info": {"lifecycle_stage": stage, "status": status}}}

    answers |= {"whole": (200, info("active", "FINISHED")), "failed": (200, info("active", "FAILED"))}
    answers |= {"half": (200, info("active", "RUNNING")), "deleted": (200, info("deleted", "FINISHED"))}
    answers |= {"gone": (404, {}), "ill": (500, {}), "strange": (200, []), "secret": (401, "no")}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        tracking = OmegaConf.create({"uri": address + "/"})
        found = {each: kept(tracking, {"mlflow_run_id": each, "mlflow_records": {address: each}}) for each in answers}
        server.shutdown()
    assert {each for each, there in found.items() if not there} == {"half", "deleted", "gone"}
    assert kept(tracking, {"mlflow_run_id": "whole", "mlflow_records": {address: "whole"}})  # nobody answers now
    assert not kept(tracking, {"mlflow_run_id": "whole", "mlflow_records": {"http://elsewhere": "whole"}})
    assert kept(tracking, {"mlflow_run_id": "whole"})  # a run of before


def test_a_diverged_run_sends_its_record_later(small, own, tmp_path, monkeypatch, capsys):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from pipeline.runs.session import Diverged, train_run

    def away(*arguments, **named):
        raise MlflowException("")

    overrides = [*small[:-1], *own, "trainer.explode=0.1"]
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_figure", away)
        with pytest.raises(Diverged, match="the training loss is"):
            train_run(composed(*overrides))
    assert "MLflow cannot be reached, its record waits (MlflowException)" in capsys.readouterr().out
    run = RunDirectory(directory_of(composed(*overrides)))
    with pytest.raises(Diverged, match="has diverged already"):
        train_run(composed(*overrides))
    is_whole(tmp_path, run, "FAILED")


def test_a_locked_database_costs_a_line_and_a_stop_is_a_stop(small, own, tmp_path, monkeypatch, capfd):
    """Nothing of MLflow's own tracebacks; the record comes with the next push."""
    overrides = [*small[:-1], *own]
    with closing(sqlite3.connect(tmp_path / "mlflow.db", check_same_thread=False)) as other:
        push = Tracking.push

        def locked(tracking, run):
            other.execute("BEGIN EXCLUSIVE")
            push(tracking, run)

        import mlflow.store.db.utils as utils

        text = utils.sql.text
        monkeypatch.setattr(utils.sql, "text", lambda line: text(line.replace("= 20000", "= 100")))
        monkeypatch.setattr(Tracking, "push", locked)
        stopped(monkeypatch, *overrides)
    out, err = capfd.readouterr()
    assert "MLflow cannot be reached, its record waits ((sqlite3.OperationalError) database is locked)" in out
    assert "stopped and saved: the same command goes on from here" in out
    assert "Traceback" not in out + err
    monkeypatch.undo()
    is_whole(tmp_path, trained(*overrides))


class Half:
    """A client that loses its second batch."""

    def __init__(self):
        self.arrived, self.batches = [], 0

    def log_batch(self, run_id, metrics):
        self.batches += 1
        if self.batches == 2:
            raise ConnectionError
        self.arrived += metrics

    def get_metric_history(self, run_id, key):
        return [metric for metric in self.arrived if metric.key == key]


def test_a_step_arrives_whole_or_not_at_all(run_in, monkeypatch):
    run = run_in("trainer.record_every=1")
    monkeypatch.setattr(tracking_module, "BATCH", 15)
    run.samples.unlink()
    tracking = Tracking(Half(), "", "", None)
    with pytest.raises(ConnectionError):
        tracking.push(run)
    tracking.push(run)
    for key in ("loss/train", "targets", "bits/smoothed"):
        steps = [metric.step for metric in tracking.client.get_metric_history("", key)]
        assert steps == [record["step"] for record in read_lines(run.metrics)] and len(steps) == 20


@pytest.mark.parametrize("count, length", [(1, 100), (1, 9000), (2, 3990), (7, 1500), (7, 30000)])
def test_the_note_is_never_cut_by_mlflow_and_has_first_and_last(count, length):
    samples = [{"step": 10 * (index + 1), "text": f"{index}" * length} for index in range(count)]
    note = _note(samples)
    assert len(note) <= NOTE and note.count("````") % 2 == 0
    assert note.startswith("### at first (step 10)")
    assert count == 1 or f"### at last (step {count * 10})" in note
    cut = len(_story(samples)) > NOTE
    assert ("`samples.md`" in note) == cut and (not cut or len(note) > NOTE - 10)


@pytest.mark.parametrize("new", [True, False])
def test_artifacts_that_cannot_be_written_are_refused_before_training(small, own, tmp_path, new):
    if not new:
        client(tmp_path).create_experiment("single", artifact_location=(tmp_path / "artifacts").as_uri())
    (tmp_path / "artifacts").write_text("in its place")
    with pytest.raises(Refusal, match=rf"^tracking\.artifacts={tmp_path}/artifacts: .*\(tracking\.uri=null\)$"):
        trained(*small[:-1], *own)
    assert (client(tmp_path).get_experiment_by_name("single") is None) == new  # or it would stay with that folder
    assert not (tmp_path / "runs" / "single").exists() or not list((tmp_path / "runs" / "single").glob("text-*"))


@pytest.mark.parametrize("how", ["renamed", "copied"])
def test_a_folder_that_is_moved_keeps_its_records_artifacts_and_models(small, own, tmp_path, monkeypatch, capsys, how):
    """With another program's artifacts beside, which stay noted as they are."""
    import mlflow

    old, new = tmp_path / "old folder", tmp_path / "new folder"
    old.mkdir()
    shutil.copy(tmp_path / "mlflow.db", old)
    overrides = [*small[:-1], "tracking.uri=sqlite:///mlflow.db", "paths.runs=runs"]
    client(old).create_experiment("other", artifact_location="s3://bucket/old folder")
    monkeypatch.chdir(old)
    run = trained(*overrides)
    run_id = run.facts["mlflow_run_id"]
    files = {file.path for file in client(old).list_artifacts(run_id)}
    assert files >= {"config.yaml", "loss.png", "samples"}
    monkeypatch.chdir(tmp_path)
    if how == "renamed":
        old.rename(new)
    else:
        shutil.copytree(old, new)
    monkeypatch.chdir(new)
    capsys.readouterr()
    trained(*overrides)
    said = capsys.readouterr().out
    assert f"are in {(new / 'mlartifacts').as_uri()}" in said and " has no record " not in said
    info = client(new).get_run(run_id).info
    assert run.facts["mlflow_run_id"] == run_id and info.artifact_uri.startswith((new / "mlartifacts").as_uri())
    assert {file.path for file in client(new).list_artifacts(run_id)} == files
    locations = {each.name: each.artifact_location for each in client(new).search_experiments()}
    assert locations["single"] == (new / "mlartifacts").as_uri() and locations["other"] == "s3://bucket/old folder"
    uri = f"sqlite:///{new}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/model", suppress_warnings=True)
    assert (new / "mlartifacts").as_uri() in client(new).get_logged_model(model.model_id).artifact_location
    before = (new / "mlflow.db").read_bytes()
    assert relocate(new / "mlflow.db") == {} and (new / "mlflow.db").read_bytes() == before
    (new / "mlartifacts").rename(new / "elsewhere")
    assert relocate(new / "mlflow.db") == {}  # nobody knows where
    assert list(relocate(new / "mlflow.db", new / "elsewhere").values()) == [(new / "elsewhere").as_uri()]
    assert {file.path for file in client(new).list_artifacts(run_id)} == files
