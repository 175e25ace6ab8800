"""One process's work on a run: from a composed configuration to a finished, stopped or diverged run."""

import math
import os
from contextlib import contextmanager

from omegaconf import DictConfig

from pipeline.command.terminal import meanwhile
from pipeline.command.verb import in_sweep
from pipeline.datasets.data import Data, load_data
from pipeline.learning.learning import Learning
from pipeline.recurrence.precision import set_matmul_precision
from pipeline.runs import scheduler
from pipeline.runs.building import expected_seconds, initial_learning, on_gpu, refuse_too_large
from pipeline.runs.code import changed, starts_over
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import Identity, identify, machine
from pipeline.runs.mirror import Mirror
from pipeline.runs.pages import pages
from pipeline.runs.process import settle_process
from pipeline.runs.progress import Progress
from pipeline.runs.recorder import Diverged, Recorder
from pipeline.runs.run import Run
from pipeline.runs.settling import Unfinished, settle
from pipeline.runs.tracking import kept, reaching, refuse_unusable
from pipeline.runs.training import fit, quiet

__all__ = ["Diverged", "train_run"]

EXPECTED: list[float] = []  # seconds of each run that a dry run of this process has named


def train_run(cfg: DictConfig) -> float:
    """Creates the composed run or goes on with it, to its end; returns its best validation loss.

    Every rank comes here. The first one alone writes, under the run's lock, and makes the MLflow run before Lightning
    starts the others. Raises Refusal before any work for what cannot be trained; Diverged; KeyboardInterrupt after
    SIGINT, SIGTERM or SIGHUP, when where the run is has been saved.
    """
    scheduler.watch()
    scheduler.refuse_mismatch(cfg)
    refuse_unusable(cfg.tracking)
    data = load_data(cfg.data, cfg.paths.local)
    data.check_prompt(cfg.trainer.sample.prompt)
    try:
        cfg = settle(cfg, data)
    except Unfinished:
        if not cfg.dry_run:
            raise
        print(f"model={cfg.model.name} seed={cfg.seed}  would start when the runs that it is made of have finished")
        return math.inf
    identity = identify(cfg, data)
    run = RunDirectory(identity.directory)
    fresh = starts_over(cfg.fresh, run.legible_facts) and not scheduler.began_before_requeue(run.legible_facts)
    status = None if fresh else run.facts.get("status")
    if status in ("finished", "diverged") and scheduler.RANK == 0:
        send_record(cfg, data, run)
    if status == "finished":
        units = data.answers.units
        loss = run.facts["validation"]
        validation = f"{loss:{units.digits}} {units.loss}{units.perplexity(loss)}"
        print(f"{run.path}  has finished already: validation {validation} ({_again(run)})", flush=True)
        return run.facts["validation"]
    if status == "diverged":
        raise Diverged(f"{run.path} has diverged already: {run.facts['reason']} ({_again(run)})")

    if cfg.dry_run:
        return would_train(cfg, data, run)
    settle_process(cfg.trainer.threads)
    quiet()
    scheduler.refuse_missing_gpus(cfg)
    set_matmul_precision(cfg.trainer.matmul_precision, on_gpu(cfg))
    large = refuse_too_large(cfg, data)
    if large and scheduler.RANK == 0:
        print(f"large: {large}", flush=True)
    learning, engine = initial_learning(cfg, data, scheduler.RANK)  # refuses before anything is written
    if scheduler.RANK > 0:
        scheduler.wait_for_first_rank(lambda: run.legible_facts)
        recorder = Recorder(cfg, run, data, None, None)
        with _interruptible():
            fit(cfg, run, learning, recorder)
        return recorder.best
    lock = run.lock()
    try:
        mirror = _connected(cfg, data, run)  # or refused, while what the run did before is still there
        if fresh:
            run.forget()
        return _first_rank(cfg, data, identity, run, learning, engine, mirror)
    finally:
        lock.release()


def would_train(cfg: DictConfig, data: Data, run: RunDirectory) -> float:
    """Says what a dry run does not do, and about how long it would take by a machine's usual speed."""
    EXPECTED.append(expected_seconds(cfg, data))
    begun = "would go on" if run.last.exists() else "would start"
    most = "at most " * (cfg.trainer.seconds is not None)
    steps = f"{most}{cfg.trainer.steps:,} steps of {cfg.trainer.batch} sequence{'s' * (cfg.trainer.batch > 1)}"
    print(f"{run.path}  {begun}: {steps}, {minutes(EXPECTED[-1])} in all", flush=True)
    return math.inf


def minutes(seconds: float) -> str:
    return "less than a minute" if seconds < 60 else f"about {seconds / 60:,.0f} min"


def _again(run: RunDirectory) -> str:
    """How the run is trained anew."""
    modules = changed(run.facts)
    if not modules:
        return "fresh=true starts it over"
    return f"by code that has changed since, {first_of(modules)}: fresh=code starts it over"


def first_of(modules: list[str]) -> str:
    return modules[0] + (f" and {len(modules) - 1} more" if len(modules) > 1 else "")


def _first_rank(
    cfg: DictConfig,
    data: Data,
    identity: Identity,
    run: RunDirectory,
    learning: Learning,
    engine: str,
    mirror: Mirror | None,
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
    if mirror is not None:
        mirror.begin()
    on = machine(on_gpu(cfg), trainer.threads)
    run.note(status="running", process=os.getpid(), machine=on, job=scheduler.JOB, srun=scheduler.STEP)
    scheduler.announce(run.path)
    progress = Progress(trainer.progress, identity.name, trainer.steps, trainer.seconds, units, alone=not in_sweep())
    if mirror is not None:
        mirror.say = progress.say
    many = "s" * (trainer.batch > 1)
    shape = f"{trainer.batch} whole sequence{many}" if trainer.length is None else f"{trainer.batch} x {trainer.length}"
    counts = "count" in learning.network.learned_by  # and has as many parameters as it finds
    number = run.facts["parameters"]
    size = "parameters by counting" if counts else f"{number:,} parameter{'s' * (number != 1)}"
    progress.say(
        f"{run.path}  {'goes on' if run.last.exists() else 'starts'}: {trainer.steps:,} steps of {shape}\n"
        f"  {size}, reads {data.reads}, "
        f"{trainer.threads} thread{'s' if trainer.threads > 1 else ''} (trainer.threads){', ' * bool(engine)}{engine}"
    )
    if modules := changed(run.facts):
        progress.say(f"{run.path}  its code has changed since it began, {first_of(modules)}: fresh=code starts it over")
    recorder = Recorder(cfg, run, data, mirror, progress)
    try:
        with _interruptible():
            fit(cfg, run, learning, recorder)
    except Diverged as reason:
        run.note(status="diverged", reason=str(reason))
        if mirror is not None:
            run.note(mlflow_waits=not mirror.send(lambda record: record.finish(run, None, "FAILED")))
        raise
    if recorder.signal is not None:
        goes_on = scheduler.requeue(recorder.signal)
        run.note(status="stopped")
        if mirror is not None:
            status = "SCHEDULED" if goes_on else "KILLED"
            mirror.send(lambda record: record.client.update_run(record.run_id, status=status))
        progress.say(
            f"{run.path}  stopped and saved: "
            f"{'SLURM goes on with it' if goes_on else 'the same command goes on from here'}"
        )
        raise KeyboardInterrupt
    waits = {}
    if mirror is not None:
        with meanwhile("recording it in MLflow ..."):
            trained = Run(run, cfg, data)
            shown = pages(cfg, trained.network, data)
            waits["mlflow_waits"] = not mirror.finish(lambda record: record.finish(run, trained, pages=shown))
    run.note(
        status="finished",
        validation=recorder.best,
        reached=recorder.reached,
        seconds=round(recorder.seconds, 3),
        parameters=learning.network.count_parameters(),
        **waits,
    )
    progress.say(
        f"{run.path}  finished: validation {recorder.best:{units.digits}} {units.loss}"
        f"{units.perplexity(recorder.best)} in {recorder.seconds:.0f} s of training"
        f"{recorder.goal.said(recorder.reached)}"
    )
    return recorder.best


def _connected(cfg: DictConfig, data: Data, run: RunDirectory) -> Mirror | None:
    """The run's record in the MLflow that tracking.uri names. Raises Refusal where it cannot be taken."""
    if cfg.tracking.uri is None:
        return None
    warning = scheduler.refuse_shared_sqlite(cfg.tracking.uri) if scheduler.JOB is not None else None
    if warning:
        print(warning, flush=True)
    mirror = Mirror(cfg, run, data.card, unattended=scheduler.JOB is not None)
    with meanwhile("connecting to MLflow ..."):
        mirror.connect()
    return mirror


def send_record(cfg: DictConfig, data: Data, run: RunDirectory) -> None:
    """Sends the record of a run that has ended, where MLflow has lost it, had not answered, or tracking.uri names
    another one. Raises Refusal where that cannot be; in a job it waits on."""
    if kept(cfg.tracking, run.facts):
        return
    lock = run.lock()
    try:
        mirror = _connected(cfg, data, run)
        if mirror.tracking is None:
            return
        with reaching(cfg.tracking):
            sent = mirror.tracking.ended(run)
        if not sent:
            mirror.begin()
            trained = Run(run, cfg, data) if run.finished else None
            shown = {} if trained is None else pages(cfg, trained.network, data)
            status = "FAILED" if trained is None else "FINISHED"
            sent = mirror.finish(lambda record: record.finish(run, trained, status, shown))
        if run.facts.get("mlflow_waits"):
            run.note(mlflow_waits=not sent)
    finally:
        lock.release()


@contextmanager
def _interruptible():
    """Lightning answers KeyboardInterrupt by exiting with 1, and lets no other come."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
