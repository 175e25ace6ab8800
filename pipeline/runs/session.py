"""One process's work on a run: from a composed configuration to a finished, stopped or diverged run."""

import logging
import os
import warnings
from contextlib import contextmanager

import torch
from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.verb import in_sweep
from pipeline.datasets.data import Data, load_data
from pipeline.learning.learning import Learning
from pipeline.runs import scheduler
from pipeline.runs.building import initial_learning, load_network
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import Identity, identify
from pipeline.runs.progress import Progress
from pipeline.runs.recorder import Diverged, Recorder
from pipeline.runs.settling import settle
from pipeline.runs.tracking import Tracking
from pipeline.runs.training import fit

__all__ = ["Diverged", "train_run"]


def train_run(cfg: DictConfig) -> float:
    """Creates the composed run or goes on with it, to its end; returns its best validation loss.

    Every rank comes here. The first one alone writes, under the run's lock, and makes the MLflow run before Lightning
    starts the others. Raises Refusal before any work for what cannot be trained; Diverged; KeyboardInterrupt after
    SIGINT or SIGTERM, when where the run is has been saved.
    """
    scheduler.watch()
    scheduler.refuse_mismatch(cfg)
    data = load_data(cfg.data, cfg.paths.local)
    data.check_prompt(cfg.trainer.sample.prompt)
    cfg = settle(cfg, data)
    identity = identify(cfg, data)
    run = RunDirectory(identity.directory)
    fresh = cfg.fresh and not scheduler.began(run.facts)
    if run.finished and not fresh:
        units = data.answers.units
        validation = f"{run.facts['validation']:{units.digits}} {units.loss}"
        print(f"{run.path}  has finished already: validation {validation} (fresh=true starts it over)", flush=True)
        return run.facts["validation"]
    if run.facts.get("status") == "diverged" and not fresh:
        raise Diverged(f"{run.path} has diverged already: {run.facts['reason']} (fresh=true starts it over)")

    torch.set_num_threads(cfg.trainer.threads)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=name)
    scheduler.refuse_missing_gpus(cfg)
    learning, engine = initial_learning(cfg, data, scheduler.RANK)  # refuses before anything is written
    if scheduler.RANK > 0:
        scheduler.wait_for_first_rank(lambda: run.facts)
        recorder = Recorder(cfg, run, data, None, None)
        fit(cfg, run, learning, recorder)
        return recorder.best
    warning = scheduler.refuse_shared_sqlite(cfg.tracking.uri) if scheduler.JOB is not None else None
    if warning:
        print(warning, flush=True)
    lock = run.lock()
    try:
        if fresh:
            run.forget()
        return _first_rank(cfg, data, identity, run, learning, engine)
    finally:
        lock.release()


def _first_rank(
    cfg: DictConfig, data: Data, identity: Identity, run: RunDirectory, learning: Learning, engine: str
) -> float:
    units, trainer = data.answers.units, cfg.trainer
    if not run.facts:
        run.create(
            cfg,
            identity,
            data=data.card["fingerprint"],
            parameters=learning.network.count_parameters(),
            units=units._asdict(),
            mlflow_run_id=None,
        )
    tracking = None
    if cfg.tracking.uri is not None:
        with _reaching_mlflow(cfg, "start it, or train without tracking (tracking.uri=null)"):
            if run.facts["mlflow_run_id"] is None:
                run.note(mlflow_run_id=Tracking.create(cfg, identity.name, data.card, run.facts["code"]))
            tracking = Tracking.resume(cfg, run.facts["mlflow_run_id"])
    run.note(status="running", process=os.getpid(), job=scheduler.JOB, srun=scheduler.STEP)
    progress = Progress(trainer.progress, identity.name, trainer.steps, trainer.seconds, units, alone=not in_sweep())
    length = "whole sequences" if trainer.length is None else trainer.length
    progress.say(
        f"{run.path}  {'goes on' if run.last.exists() else 'starts'}: {run.facts['parameters']:,} parameters, reads "
        f"{data.reads}, {trainer.steps:,} steps of {trainer.batch} x {length}, "
        f"{trainer.threads} thread{'s' if trainer.threads > 1 else ''} (trainer.threads){', ' * bool(engine)}{engine}"
    )
    recorder = Recorder(cfg, run, data, tracking, progress)
    try:
        fit(cfg, run, learning, recorder)
    except Diverged as reason:
        run.note(status="diverged", reason=str(reason))
        if tracking is not None:
            tracking.finish(run, None, "FAILED")
        raise
    if recorder.signal is not None:
        goes_on = scheduler.requeue(recorder.signal)
        run.note(status="stopped")
        if tracking is not None:
            tracking.client.update_run(tracking.run_id, status="SCHEDULED" if goes_on else "KILLED")
        progress.say(
            f"{run.path}  stopped and saved: "
            f"{'SLURM goes on with it' if goes_on else 'the same command goes on from here'}"
        )
        raise KeyboardInterrupt
    if tracking is not None:
        with _reaching_mlflow(
            cfg, "the training is done and kept; the same command sends its record when MLflow answers"
        ):
            tracking.finish(run, load_network(run, data))
    run.note(
        status="finished",
        validation=recorder.best,
        reached=recorder.reached,
        seconds=round(recorder.seconds, 3),
        parameters=learning.network.count_parameters(),
    )
    progress.say(
        f"{run.path}  finished: validation {recorder.best:{units.digits}} {units.loss} in {recorder.seconds:.0f} s of "
        f"training{recorder.goal.said(recorder.reached)}"
    )
    return recorder.best


@contextmanager
def _reaching_mlflow(cfg: DictConfig, mend: str):
    """Turns what MLflow says when it cannot be reached into one line with the mend."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise Refusal(f"tracking.uri={cfg.tracking.uri}: {str(error).splitlines()[0][:200]}: {mend}") from error
