"""The mirror of a run in MLflow.

The run's directory is the truth; MLflow receives what it lacks, in batches. So a requeued job, a second rank or a
killed process neither makes a second MLflow run nor writes a step twice.
"""

import hashlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.files.whole import read_lines
from pipeline.runs.directory import RunDirectory

if TYPE_CHECKING:
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its own 7 take minutes
BATCH = 1000  # metrics in one request, MLflow's limit
LOSSES = ("train", "smoothed", "validation")


def database(uri: str) -> str:
    """`uri`, with the file of an sqlite database made absolute and created once, however many processes ask at once."""
    if not uri.startswith("sqlite:///"):
        return uri
    file = Path(uri.removeprefix("sqlite:///")).absolute()
    uri = f"sqlite:///{file}"
    file.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{file}.lock"):
        ready = Path(f"{file}.ready")  # several processes creating one database break it for good, a killed one as well
        if not ready.exists():
            made = subprocess.run(
                [sys.executable, "-m", "mlflow", "db", "upgrade", uri], capture_output=True, text=True
            )
            if made.returncode:
                raise Refusal(
                    f"tracking.uri={uri}: MLflow cannot make this database: {made.stderr.strip().splitlines()[-1]}"
                )
            ready.touch()
    return uri


class Tracking:
    """One run of one MLflow experiment; the experiment has the study's name, the run that of its directory."""

    def __init__(self, client: "MlflowClient", run_id: str):
        self.client, self.run_id = client, run_id

    @classmethod
    def connect(cls, tracking: DictConfig) -> "MlflowClient":
        from mlflow import MlflowClient

        return MlflowClient(database(tracking.uri))

    @classmethod
    def create(cls, cfg: DictConfig, name: str, card: dict, code: dict) -> str:
        """Makes the MLflow run and returns its id: parameters are the resolved configuration,
        the data set is an input."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag
        from mlflow.exceptions import MlflowException

        client = cls.connect(cfg.tracking)
        experiment = client.get_experiment_by_name(cfg.study.name)
        if experiment is None:
            location = (
                Path(cfg.tracking.artifacts).absolute().as_uri() if cfg.tracking.uri.startswith("sqlite") else None
            )
            try:
                client.create_experiment(
                    cfg.study.name,
                    artifact_location=location,
                    tags={"mlflow.experimentKind": "custom_model_development"},
                )
            except MlflowException:  # another process was first
                pass
            experiment = client.get_experiment_by_name(cfg.study.name)
        tags = {
            "mlflow.source.name": "pipeline.train",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": code["commit"],
            "code.dirty": code["dirty"],
            "seed": cfg.seed,
        }
        lock = Path("dvc.lock")
        if lock.exists():
            tags["dvc.lock"] = hashlib.md5(lock.read_bytes()).hexdigest()
        run_id = client.create_run(experiment.experiment_id, run_name=name).info.run_id
        groups = ("data", "model", "optimizer", "initialization", "schedule", "trainer", "seed")
        parameters = _flat({key: OmegaConf.to_container(cfg, resolve=True)[key] for key in groups})
        client.log_batch(
            run_id,
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
            client.log_inputs(run_id, datasets=inputs)
        except MlflowException:  # another run has entered the same data set at this moment: now it is there
            client.log_inputs(run_id, datasets=inputs)
        return run_id

    @classmethod
    def resume(cls, cfg: DictConfig, run_id: str) -> "Tracking":
        tracking = cls(cls.connect(cfg.tracking), run_id)
        tracking.client.update_run(run_id, status="RUNNING")
        return tracking

    def push(self, run: RunDirectory) -> None:
        """Sends the records and samples that MLflow lacks.
        Samples go first: the metrics' last step says what has arrived."""
        from mlflow.entities import Metric

        sent = max((metric.step for metric in self.client.get_metric_history(self.run_id, "train")), default=-1)
        samples = read_lines(run.samples)
        fresh = [sample for sample in samples if sample["step"] > sent]
        for sample in fresh:
            self.client.log_text(self.run_id, sample["text"], f"samples/step_{sample['step']:08d}.txt")
        if fresh:
            self.client.set_tag(self.run_id, "mlflow.note.content", _story(samples))
        now, also = int(time.time() * 1000), run.facts["units"]["also"]
        metrics = [
            Metric(key, value, now, record["step"])
            for record in read_lines(run.metrics)
            if record["step"] > sent
            for key, value in _numbers(record, also)
        ]
        for first in range(0, len(metrics), BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[first : first + BATCH])

    def finish(self, run: RunDirectory, network, status: str = "FINISHED") -> None:
        """The rest of the record, the loss curve as a figure, the configuration and,
        where the run has ended well, the model."""
        from pipeline.exhibits.figures import loss_curves

        self.push(run)
        self.client.log_figure(
            self.run_id,
            loss_curves([(run.path.name, read_lines(run.metrics))], run.facts["units"]),
            "loss.png",
        )
        self.client.log_artifact(self.run_id, str(run.path / "config.yaml"))
        if network is not None:
            self._log_model(network)
        self.client.set_terminated(self.run_id, status)

    def _log_model(self, network) -> None:
        """As an MLflow model: `mlflow.pytorch.load_model("runs:/<id>/model")` gives the network back."""
        import mlflow

        logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)  # it warns of pickle at every model
        mlflow.set_tracking_uri(self.client.tracking_uri)
        with mlflow.start_run(run_id=self.run_id, log_system_metrics=False):
            mlflow.pytorch.log_model(network, name="model", pip_requirements=["torch"], serialization_format="pickle")


def _numbers(record: dict, also: dict[str, float]) -> Iterator[tuple[str, float]]:
    """What MLflow keeps of a record: losses, in their other units too, and the rest that is known."""
    for key in (*LOSSES, "right", "rate", "seconds", "targets"):
        if record.get(key) is not None:
            yield key, record[key]
    for unit, each in also.items():
        for key in LOSSES:
            if record.get(key) is not None:
                yield f"{key}_{unit}", record[key] * each


def _flat(node: dict, before: str = "") -> dict:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[before + key] = value
    return flat


def _story(samples: list[dict]) -> str:
    """The run page's description: the samples as training went, first and last and a few between."""
    chosen = sorted({round(index * (len(samples) - 1) / 4) for index in range(5)})
    parts = []
    for place, index in enumerate(chosen):
        sample = samples[index]
        head = "at first" if place == 0 else "at last" if place == len(chosen) - 1 else "train more"
        parts.append(f"### {head} (step {sample['step']:,})\n````text\n{sample['text']}\n````\n")
    return "\n".join(parts)
