"""The mirror of a run in MLflow.

The run's directory is the truth; MLflow receives what it lacks, in batches. So a requeued job, a second rank or a
killed process neither makes a second MLflow run nor writes a step twice, and a record that MLflow has lost is sent
again.
"""

import hashlib
import logging
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import filelock
from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import flat, size
from pipeline.runs.relocation import relocate
from pipeline.runs.server import ASKED, Away, file_of, location, require_answer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

    from pipeline.runs.run import Run as TrainedRun

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own 7 take minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # seconds; the other ranks wait meanwhile
BATCH = 1000  # metrics in one request, MLflow's limit
NOTED = "mlflow.note.content"  # the tag that is shown as a description
NOTE = 8000  # characters of a run's description; MLflow cuts a longer one
LOSSES = ("train", "smoothed", "validation")
FIRST = "loss/train"  # which every record has; MLflow draws what has one beginning in one section
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
ENDED = ("FINISHED", "FAILED")  # MLflow's words for a run that has finished or diverged
LOCKED = 20.0  # seconds to wait for another writer of an sqlite database, as MLflow does


def refuse_unusable(tracking: DictConfig) -> None:
    """Refusal: tracking.uri or tracking.artifacts cannot be one of MLflow's, whatever is there. Loads no MLflow."""
    uri, artifacts = tracking.uri, tracking.artifacts
    if uri is None:
        return
    if isinstance(uri, str) and file_of(uri) is not None:
        return
    scheme = uri.partition(":")[0].partition("+")[0] if isinstance(uri, str) else None
    if scheme not in SCHEMES and scheme not in {each.name for each in entry_points(group="mlflow.tracking_store")}:
        raise Refusal(
            f"tracking.uri={uri}: MLflow knows no such place: take sqlite:///mlflow.db, http://HOST:PORT, a file "
            "called address that says this (mlflow-server/address), another database server (postgresql://...), or "
            "null to train without tracking"
        )
    if scheme == "sqlite":
        if _sqlite(uri) is None:
            raise Refusal(f"tracking.uri={uri} names no file: take sqlite:///mlflow.db, or tracking.uri=null")
        if not isinstance(artifacts, str) or not artifacts:
            raise Refusal(
                f"tracking.artifacts={artifacts}: name the folder where MLflow keeps figures, samples and models "
                "(tracking.artifacts=mlartifacts), or take tracking.uri=null"
            )


def database(uri: str) -> str:
    """`uri`, with the file of an sqlite database made absolute, and created where there is none, once, however many
    processes ask at once. Refusal: the file is anything but a database of MLflow that can be written."""
    file = _sqlite(uri)
    if file is None:
        return uri
    uri, why = f"sqlite:///{file}", None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{file}.lock"):
            with closing(sqlite3.connect(file, timeout=LOCKED)) as opened:
                opened.execute("BEGIN IMMEDIATE")
                tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                _make(file)
            elif not tables >= {"experiments", "runs", "alembic_version"}:
                why = "it is another program's, or was made by half"
    except (OSError, sqlite3.Error) as error:
        why = reason(error)
    if why is not None:
        wait = "wait for the program that holds it" if "locked" in why else "move it away or name another file"
        raise Refusal(
            f"tracking.uri={uri}: MLflow cannot use this database ({why}): {wait}, or train without tracking "
            "(tracking.uri=null)"
        )
    return uri


def _make(file: Path) -> None:
    """A new database of MLflow, whole or not there: a killed process, or several at once, break one for good."""
    new = f"{file}.new"
    Path(new).unlink(missing_ok=True)
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{new}"]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        errors = re.findall(r"^[\w.]+(?:Error|Exception): .+", made.stderr, re.MULTILINE)
        raise OSError(errors[-1] if errors else f"mlflow db upgrade ended with {made.returncode}")
    os.replace(new, file)


def kept(tracking: DictConfig, facts: dict) -> bool:
    """Whether the record of a run that has ended is in the MLflow that tracking.uri names, as far as can be told at
    once: an sqlite file and a server are asked without MLflow, which takes seconds to load; silence counts as yes."""
    if tracking.uri is None:
        return True
    address, run_id = _address(tracking.uri), facts.get("mlflow_run_id")
    # Runs of before have no records: they were in this one.
    run_id = facts["mlflow_records"].get(address) if "mlflow_records" in facts else run_id
    if run_id is None:
        return False
    file = _sqlite(tracking.uri)
    if file is not None:
        try:
            with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=ASKED)) as opened:
                asked = "SELECT lifecycle_stage, status FROM runs WHERE run_uuid = ?"
                stage, status = opened.execute(asked, (run_id,)).fetchone() or (None, None)
        except sqlite3.Error as error:  # what else is wrong with it is said where it is opened
            return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
        return stage == "active" and status in ENDED
    try:
        where = location(tracking.uri)
    except Away:
        return True
    if not where.startswith("http"):
        return True
    import requests

    name, password = (os.environ.get(f"MLFLOW_TRACKING_{each}") for each in ("USERNAME", "PASSWORD"))
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    try:
        answer = requests.get(
            f"{where.rstrip('/')}/api/2.0/mlflow/runs/get",
            params={"run_id": run_id},
            auth=(name, password) if name and password else None,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            timeout=ASKED,
        )
        if answer.status_code == 404:
            return False
        info = answer.json()["run"]["info"]
        return info["lifecycle_stage"] == "active" and info["status"] in ENDED
    except (OSError, ValueError, KeyError, TypeError):
        return True


@contextmanager
def reaching(tracking: DictConfig, mend: str = "") -> Iterator[None]:
    """Turns what MLflow says when it cannot be reached, or cannot write, into one line with the mend."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        line = reason(error)
        if not mend:
            mend = "move it away or name another file" if _sqlite(tracking.uri) else "start it"
            if file_of(tracking.uri) is not None:
                mend = "start it (sbatch slurm/mlflow_server.sbatch)"
            if "error code 401" in line:
                mend = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            mend += ", or train without tracking (tracking.uri=null)"
        raise Refusal(f"tracking.uri={tracking.uri}: {line}: {mend}") from error


class Tracking:
    """One run of one MLflow experiment; the experiment has the study's name, the run that of its directory.

    address  tracking.uri without a password, a file absolute;  location  where that is now
    run_id   None before `take`
    """

    def __init__(self, client: "MlflowClient", address: str, where: str, experiment: "Experiment"):
        self.client, self.address, self.location, self.experiment = client, address, where, experiment
        self.run_id: str | None = None

    @classmethod
    def connect(cls, cfg: DictConfig) -> "Tracking":
        """Finds or makes the study's experiment. Away: nobody answers. Refusal: it could not keep the run's
        artifacts."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints a traceback and raises, too
        where, study, address = location(cfg.tracking.uri), cfg.study.name, _address(cfg.tracking.uri)
        require_answer(where)
        _forget_places()
        client = MlflowClient(database(where))
        file = _sqlite(where)
        if file is not None:
            for before, now in relocate(file, Path(cfg.tracking.artifacts)).items():
                print(f"{address}: artifacts that were in {before} are in {now}", flush=True)
        about = f"{cfg.study.get('question', '')}\n\n{cfg.study.get('description', '')}".strip()
        described = {NOTED: about} if about else {}
        experiment = client.get_experiment_by_name(study)
        if experiment is None:
            kept_in = None
            if _sqlite(cfg.tracking.uri):
                kept_in = Path(cfg.tracking.artifacts).absolute().as_uri()
                _refuse_unwritable(cfg, kept_in, "name another folder")
            tags = {"mlflow.experimentKind": "custom_model_development", **described}
            try:
                client.create_experiment(study, artifact_location=kept_in, tags=tags)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was first
                    raise
            experiment = client.get_experiment_by_name(study)
        elif experiment.lifecycle_stage != "active":
            try:
                client.restore_experiment(experiment.experiment_id)
                print(f"{address}: experiment {study} had been deleted there: restored, with its runs", flush=True)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # another process was first
                    raise
        _refuse_unwritable(cfg, experiment.artifact_location, "make it a folder that can be written")
        if not described.items() <= experiment.tags.items():
            try:
                client.set_experiment_tag(experiment.experiment_id, NOTED, about)
            except MlflowException:
                if not described.items() <= client.get_experiment(experiment.experiment_id).tags.items():
                    raise  # else another process was first
        return cls(client, address, where, experiment)

    def find(self, run: RunDirectory) -> "Run | None":
        """The run's record; None where there is none, or it was deleted."""
        from mlflow.exceptions import MlflowException

        facts = run.facts
        # A server may have another address than before, and the same records.
        run_id = facts.get("mlflow_records", {}).get(self.address, facts["mlflow_run_id"])
        if run_id is None:
            return None
        try:
            found = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def take(self, cfg: DictConfig, run: RunDirectory, card: dict) -> None:
        """Finds the run's record or makes one, and says so where there has been one or should have been."""
        found, facts = self.find(run), run.facts
        if found is None and (facts["mlflow_run_id"] is not None or run.metrics.exists()):
            print(f"{run.path}  has no record in {self.address}: a new one gets all there is", flush=True)
        self.run_id = self._create(cfg) if found is None else found.info.run_id
        self._note(run, self.run_id)
        if found is None or not found.inputs.dataset_inputs:  # which are written last
            self._describe(cfg, run, card)
        self.client.update_run(self.run_id, status="RUNNING")
        # Before the training, which ends with artifacts that are larger.
        self.client.log_artifact(self.run_id, str(run.path / "config.yaml"))

    def ended(self, run: RunDirectory) -> bool:
        """Whether the record of a run that has ended is here after all, and whole; the next `kept` knows."""
        found = self.find(run)
        if found is None or found.info.status not in ENDED:
            return False
        self._note(run, found.info.run_id)
        return True

    def _note(self, run: RunDirectory, run_id: str) -> None:
        """Says in the run's facts where its record is."""
        records = run.facts.get("mlflow_records", {}) | {self.address: run_id}
        run.note(mlflow_run_id=run_id, mlflow_records=records)

    def _create(self, cfg: DictConfig) -> str:
        """Makes the MLflow run and returns its id."""
        words = (cfg.model.name, size(cfg.model), cfg.data.name, cfg.optimizer.name, f"s{cfg.seed}")
        name = " ".join(filter(None, words))
        return self.client.create_run(self.experiment.experiment_id, run_name=name).info.run_id

    def _describe(self, cfg: DictConfig, run: RunDirectory, card: dict) -> None:
        """Writes what the run is: parameters are the resolved configuration, the data set is an input."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
        from mlflow.exceptions import MlflowException

        client, facts = self.client, run.facts
        tags = {
            "run": run.path.name,
            "mlflow.source.name": "pipeline.train",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": facts["code"]["commit"],
            "code.dirty": facts["code"]["dirty"],
            "seed": cfg.seed,
        }
        lock = Path("dvc.lock")
        if lock.exists():
            tags["dvc.lock"] = hashlib.md5(lock.read_bytes()).hexdigest()
        groups = ("data", "model", "optimizer", "initialization", "schedule", "trainer", "seed")
        parameters = flat({key: OmegaConf.to_container(cfg, resolve=True)[key] for key in groups})
        client.log_batch(
            self.run_id,
            metrics=[Metric("parameters", facts["parameters"], int(time.time() * 1000), 0)],
            params=[Param(key, str(value)[:6000]) for key, value in parameters.items()],
            tags=[RunTag(key, str(value)) for key, value in tags.items()],
        )
        data = Dataset(
            name=cfg.data.name,
            digest=card["fingerprint"][:36],
            source_type="local",
            source=f"data={cfg.data.name}",
            profile=str(card["counts"]),
        )
        inputs = [DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
        try:
            client.log_inputs(self.run_id, datasets=inputs)
        except MlflowException:  # another run has entered the same data set at this moment: now it is there
            client.log_inputs(self.run_id, datasets=inputs)

    def push(self, run: RunDirectory) -> None:
        """Sends the records and samples that MLflow lacks.
        Samples go first: the metrics' last step says what has arrived."""
        from mlflow.entities import Metric

        sent = max((metric.step for metric in self.client.get_metric_history(self.run_id, FIRST)), default=-1)
        samples = run.written()
        fresh = [sample for sample in samples if sample["step"] > sent]
        for sample in fresh:
            self.client.log_text(self.run_id, sample["text"], f"samples/step_{sample['step']:08d}.txt")
        if fresh:
            self.client.log_text(self.run_id, _story(samples), "samples.md")
            self.client.set_tag(self.run_id, NOTED, _note(samples))
        now, units, rated, batch = int(time.time() * 1000), run.facts["units"], _rated(run), []
        for record in run.records():
            if record["step"] > sent:
                metrics = [Metric(key, value, now, record["step"]) for key, value in _numbers(record, units, rated)]
                if len(batch) + len(metrics) > BATCH:  # a step arrives whole or not at all
                    self.client.log_batch(self.run_id, metrics=batch)
                    batch = []
                batch += metrics
        if batch:
            self.client.log_batch(self.run_id, metrics=batch)

    def finish(
        self,
        run: RunDirectory,
        trained: "TrainedRun | None",
        status: str = "FINISHED",
        pages: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """The rest of the record, the loss curve as a figure, `pages` by name, as HTML, and, where the run has ended
        well, the model: `trained`."""
        from pipeline.exhibits.figures import loss_curves

        self.push(run)
        self.client.log_figure(
            self.run_id,
            loss_curves([(run.path.name, run.records())], run.facts["units"]),
            "loss.png",
        )
        for name, page in pages.items():
            self.client.log_text(self.run_id, page, f"{name}.html")
        if trained is not None:
            parameters = trained.network.count_parameters()
            if parameters != run.facts["parameters"]:  # a model that has grown
                self.client.log_metric(self.run_id, "parameters", parameters)
            self._log_model(trained)
        self.client.set_terminated(self.run_id, status)

    def measured(self, run: RunDirectory, name: str, numbers: Mapping[str, float]) -> None:
        """Writes what evaluation has found to the run's record, where there is one, and calls that `name`."""
        from mlflow.entities import Metric

        found = self.find(run)
        if found is None:
            return
        info, there = found.info, found.data.metrics
        step, now = run.records()[-1]["step"], int(time.time() * 1000)
        fresh = [Metric(key, value, now, step) for key, value in numbers.items() if there.get(key) != value]
        if fresh:
            self.client.log_batch(info.run_id, metrics=fresh)
        if info.run_name != name:
            self.client.update_run(info.run_id, name=name)

    def _log_model(self, trained: "TrainedRun") -> None:
        """As an MLflow model, once: `mlflow.pyfunc.load_model("runs:/<id>/model")` loads it."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        from pipeline.runs.packaged import package

        client, experiment = self.client, self.experiment.experiment_id
        begun = client.search_logged_models([experiment], f"source_run_id = '{self.run_id}'")
        model = begun[0] if begun else client.create_logged_model(experiment, "model", self.run_id)
        if model.status == "READY":
            return
        with tempfile.TemporaryDirectory() as folder:
            about = Model(model.artifact_location, self.run_id, model_id=model.model_id, model_uuid=model.model_id)
            package(trained, Path(folder), about)
            client.log_model_artifacts(model.model_id, folder)
        if not (begun and client.get_run(self.run_id).outputs.model_outputs):
            client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
        client.finalize_logged_model(model.model_id, "READY")


def _forget_places() -> None:
    """Lets MLflow ask again where a run's artifacts go: it remembers that of a run, whatever server it was on."""
    from mlflow.tracking._tracking_service import utils

    getattr(utils, "_artifact_repos_cache", {}).clear()


def _sqlite(uri: str) -> Path | None:
    """The file of an sqlite database; None for anything else."""
    file = uri.removeprefix("sqlite:///")
    return None if file in (uri, "", ":memory:") else Path(file).absolute()


def _address(uri: str) -> str:
    """What tells one MLflow from another: `uri` without a password, a file absolute."""
    named = file_of(uri)
    if named is not None:
        return str(named)
    file = _sqlite(uri)
    return re.sub(r"//[^/@]*@", "//", uri.rstrip("/")) if file is None else f"sqlite:///{file}"


def _refuse_unwritable(cfg: DictConfig, location: str, mend: str) -> None:
    """Refusal: `location` is a folder of this machine where nothing can be written."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return
    folder = Path(url2pathname(parts.path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise Refusal(
            f"tracking.artifacts={cfg.tracking.artifacts}: artifacts of study.name={cfg.study.name} go to {folder} "
            f"({error.strerror}): {mend}, or train without tracking (tracking.uri=null)"
        ) from None


def reason(error: Exception) -> str:
    """The first line of what `error` says."""
    return textwrap.shorten((str(error).strip() or type(error).__name__).splitlines()[0], 200, placeholder=" ...")


def _numbers(record: dict, units: dict, rated: bool) -> Iterator[tuple[str, float]]:
    """What MLflow keeps of a record: losses, in their other units too, and the rest that is known; the learning rate
    where it changes (`rated`)."""
    for unit, each in ({"loss": 1.0} | units["also"]).items():
        for key in LOSSES:
            if record.get(key) is not None:
                yield f"{unit}/{key}", record[key] * each
    if record.get("right") is not None:
        yield "right/validation", record["right"]
    if rated and record.get("rate") is not None:
        yield "rate", record["rate"]
    for key in ("seconds", "targets"):
        yield key, record[key]
    if record["seconds"]:
        yield f"{units['element']}s_per_second", record["targets"] / record["seconds"]


def _rated(run: RunDirectory) -> bool:
    """Whether a run's learning rate changes."""
    schedule = run.config().get("schedule")
    return schedule is not None and not schedule._target_.endswith(".constant")


def _note(samples: list[dict]) -> str:
    """The run page's description: the story, or as much of the first and last samples as MLflow takes."""
    story = _story(samples)
    if len(story) <= NOTE:
        return story
    ends, rest = [samples[0], samples[-1]][: len(samples)], "\nCut; the whole is in the artifact `samples.md`.\n"
    room = (NOTE - len(rest) - len(_story([end | {"text": ""} for end in ends]))) // len(ends)
    return _story([end | {"text": end["text"][:room]} for end in ends]) + rest


def _story(samples: list[dict]) -> str:
    """The samples as training went, first and last and a few between."""
    chosen = sorted({round(index * (len(samples) - 1) / 4) for index in range(5)})
    parts = []
    for place, index in enumerate(chosen):
        sample = samples[index]
        head = "at first" if place == 0 else "at last" if place == len(chosen) - 1 else "train more"
        parts.append(f"### {head} (step {sample['step']:,})\n````text\n{sample['text']}\n````\n")
    return "\n".join(parts)
