"""One process's work on a run: from a composed configuration to a finished, stopped or diverged run."""

import json
import logging
import os
import warnings
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytorch_lightning as lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.strategies import DDPStrategy

from pipeline.command.refusal import Refusal
from pipeline.command.verb import in_sweep
from pipeline.datasets.data import Data
from pipeline.datasets.space import Symbols
from pipeline.learning.gradient import GradientLearning
from pipeline.learning.learning import Learning
from pipeline.learning.statistics import StatisticsLearning, SumsAcrossRanks
from pipeline.models.build import build, choose
from pipeline.models.load import load_network
from pipeline.models.model import SequenceModel
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.probes.likelihood import held_out_loss
from pipeline.probes.text import write
from pipeline.recurrence.engines import choose as choose_engine
from pipeline.runs import scheduler
from pipeline.runs.checkpoints import AtomicCheckpointIO
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import Identity
from pipeline.runs.progress import Progress
from pipeline.runs.recorder import Diverged, Recorder
from pipeline.runs.scheduler import RANK
from pipeline.runs.tracking import Tracking


def run_session(cfg: DictConfig, data: Data, identity: Identity, run: RunDirectory) -> float:
    """Creates the run or goes on with it, to its end; returns its best validation loss.

    The first rank alone writes, under the run's lock, and makes the MLflow run before Lightning starts the others.
    Raises Diverged; KeyboardInterrupt after SIGINT or SIGTERM, when where the run is has been saved.
    """
    torch.set_num_threads(cfg.trainer.threads)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=name)
    scheduler.refuse_missing_gpus(cfg)
    learning = _learning(cfg, data)  # refuses what cannot work before anything is written
    if RANK > 0:
        scheduler.wait_for_first_rank(lambda: run.facts)
        return _train(cfg, data, run, learning, None, None).best
    warning = scheduler.refuse_shared_sqlite(cfg.tracking.uri) if scheduler.JOB is not None else None
    if warning:
        print(warning, flush=True)
    lock = run.lock()
    try:
        if cfg.fresh:
            run.forget()
        return _first_rank(cfg, data, identity, run, learning)
    finally:
        lock.release()


def _first_rank(cfg: DictConfig, data: Data, identity: Identity, run: RunDirectory, learning: Learning) -> float:
    space = data.space
    if not run.facts:
        run.create(
            cfg,
            identity,
            data=data.card["fingerprint"],
            parameters=learning.network.count_parameters(),
            vocabulary=space.count if isinstance(space, Symbols) else None,
            mlflow_run_id=None,
        )
    tracking = None
    if cfg.tracking.uri is not None:
        with _reaching_mlflow(cfg, "start it, or train without tracking (tracking.uri=null)"):
            if run.facts["mlflow_run_id"] is None:
                run.note(mlflow_run_id=Tracking.create(cfg, identity.name, data.card, run.facts["code"]))
            tracking = Tracking.resume(cfg, run.facts["mlflow_run_id"])
    run.note(status="running", process=os.getpid(), job=scheduler.JOB, srun=scheduler.STEP)
    progress = Progress(
        cfg.trainer.progress, identity.name, cfg.trainer.steps, cfg.trainer.seconds, space, alone=not in_sweep()
    )
    read = (
        f"{space.count} symbols"
        if isinstance(space, Symbols)
        else f"{space.observed} observed, {space.driving} driving"
    )
    engine = (
        f", {learning.network.engine} recurrence (trainer.engine)"
        if isinstance(learning.network, RecurrentNetwork)
        else ""
    )
    # Where symbols are counted the text decides how many there are.
    parameters = f"{run.facts['parameters']:,} parameters, " if learning.network.rule != "count" else ""
    progress.say(
        f"{run.path}  {'goes on' if run.last.exists() else 'starts'}: {parameters}{read}, "
        f"{cfg.trainer.steps:,} steps of {cfg.trainer.batch} x {cfg.trainer.length}, "
        f"{cfg.trainer.threads} thread{'s' if cfg.trainer.threads > 1 else ''} (trainer.threads){engine}"
    )
    try:
        recorder = _train(cfg, data, run, learning, tracking, progress)
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
        seconds=round(recorder.seconds, 3),
        parameters=learning.network.count_parameters(),
    )
    progress.say(
        f"{run.path}  finished: validation {recorder.best:{space.digits}} {space.unit} "
        f"in {recorder.seconds:.0f} s of training"
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


def initial_network(cfg: DictConfig, data: Data) -> SequenceModel:
    """The model at step 0, a function of cfg.seed."""
    if cfg.trainer.dtype not in ("float32", "float64"):
        raise Refusal(f"trainer.dtype={cfg.trainer.dtype}: take float32 or float64")
    torch.manual_seed(cfg.seed)
    network = build(cfg.model, data.space)
    instantiate(cfg.initialization)(network)
    network.finish_initialization()
    return network.to(getattr(torch, cfg.trainer.dtype))


def _learning(cfg: DictConfig, data: Data) -> Learning:
    settings = cfg.trainer
    network = initial_network(cfg, data)
    values = {} if isinstance(data.space, Symbols) else {"dtype": network.dtype}
    streams = data.streams(settings.batch, settings.length, RANK, settings.devices * settings.nodes, **values)
    if network.rule != "gradient":
        return StatisticsLearning(network, streams)
    if isinstance(network, RecurrentNetwork):
        operations = 6 * network.count_parameters() * settings.steps * settings.batch * settings.length
        gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
        network.engine = choose_engine(
            settings.engine, network.cells, "cuda" if gpu else "cpu", operations, settings.seconds
        )
    learning = GradientLearning(
        network,
        streams,
        choose(cfg.optimizer),
        instantiate(cfg.schedule),
        settings.steps,
        settings.loss,
        settings.clip_value,
        settings.clip_norm,
        cfg.seed,
    )
    try:
        learning.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise Refusal(f"optimizer={cfg.optimizer.name}: {error}") from error
    return learning


def _plain(node: DictConfig) -> SimpleNamespace:
    """The resolved node as an object with attributes;
    reading a DictConfig at every step costs more than a small step."""
    return json.loads(
        json.dumps(OmegaConf.to_container(node, resolve=True)), object_hook=lambda entries: SimpleNamespace(**entries)
    )


def _train(
    cfg: DictConfig,
    data: Data,
    run: RunDirectory,
    learning: Learning,
    tracking: Tracking | None,
    progress: Progress | None,
) -> Recorder:
    """Trains from the last checkpoint, or from step 0, to the last step or to where it is asked to stop."""
    settings, network = _plain(cfg.trainer), learning.network

    def validate() -> float:
        return held_out_loss(network, data, "validation", settings.validation_symbols)[0]

    def sample(step: int) -> str:
        return write(
            network,
            data.vocabulary,
            settings.sample.prompt,
            settings.sample.temperature,
            settings.sample.length,
            (cfg.seed << 32) + step,
        )

    recorder = Recorder(
        settings,
        run,
        tracking,
        progress,
        validate,
        sample if isinstance(data.space, Symbols) else None,
        data.space.unit,
    )
    strategy = "auto"
    if settings.devices * settings.nodes > 1:
        # A learned initial state takes part in the windows at stream starts alone.
        learned = isinstance(network, RecurrentNetwork) and any(part.requires_grad for part in network.initial)
        kind = DDPStrategy if network.rule == "gradient" else SumsAcrossRanks
        strategy = kind(timeout=timedelta(seconds=scheduler.WAIT), find_unused_parameters=learned)
    trainer = lightning.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=strategy,
        max_steps=settings.steps,
        plugins=[AtomicCheckpointIO(), *scheduler.plugins()],
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(learning, ckpt_path=run.last if run.last.exists() else None)
    return recorder
