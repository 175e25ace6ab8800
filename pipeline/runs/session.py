"""One process's work on a run: from a composed configuration to a finished, stopped or diverged run."""

import json
import logging
import os
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import pytorch_lightning as lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pipeline.corpora.prepared import Prepared
from pipeline.datasets.streams import Streams
from pipeline.learning.gradient import GradientLearning
from pipeline.models.build import build, choose, count_parameters
from pipeline.models.load import load_network
from pipeline.probes.likelihood import mean_loss
from pipeline.probes.text import write
from pipeline.recurrence import choose as choose_engine
from pipeline.runs.checkpoints import AtomicCheckpointIO
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import Identity
from pipeline.runs.progress import Progress
from pipeline.runs.recorder import Diverged, Recorder
from pipeline.runs.tracking import Tracking
from pipeline.verb import Refusal, in_sweep

# Ranks beyond the first are started by Lightning or by srun with one of these above 0.
RANK = next((int(os.environ[name]) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if os.environ.get(name)), 0)


def run_session(cfg: DictConfig, prepared: Prepared, identity: Identity, run: RunDirectory) -> float:
    """Creates the run or goes on with it, to its end; returns its best validation loss in nats per symbol.

    The first rank alone writes, under the run's lock, and makes the MLflow run before Lightning starts the others.
    Raises Diverged; KeyboardInterrupt after SIGINT or SIGTERM, when where the run is has been saved.
    """
    torch.set_num_threads(cfg.trainer.threads)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=name)
    learning = _learning(cfg, prepared)         # refuses what cannot work before anything is written
    if RANK > 0:
        return _train(cfg, prepared, run, learning, None, None).best
    lock = run.lock()
    try:
        if cfg.fresh:
            run.forget()
        return _first_rank(cfg, prepared, identity, run, learning)
    finally:
        lock.release()


def _first_rank(cfg: DictConfig, prepared: Prepared, identity: Identity, run: RunDirectory, learning: GradientLearning) -> float:
    if not run.facts:
        run.create(cfg, identity, data=prepared.card["fingerprint"], parameters=count_parameters(learning.network),
                   vocabulary=len(prepared.vocabulary), mlflow_run_id=None)
    tracking = None
    if cfg.tracking.uri is not None:
        with _reaching_mlflow(cfg, "start it, or train without tracking (tracking.uri=null)"):
            if run.facts["mlflow_run_id"] is None:
                run.note(mlflow_run_id=Tracking.create(cfg, identity.name, prepared.card, run.facts["code"]))
            tracking = Tracking.resume(cfg, run.facts["mlflow_run_id"])
    run.note(status="running", process=os.getpid())
    progress = Progress(cfg.trainer.progress, identity.name, cfg.trainer.steps, cfg.trainer.seconds, alone=not in_sweep())
    progress.say(f"{run.path}  {'goes on' if run.last.exists() else 'starts'}: {run.facts['parameters']:,} parameters, "
                 f"{len(prepared.vocabulary)} symbols, {cfg.trainer.steps:,} steps of {cfg.trainer.batch} x {cfg.trainer.length}, "
                 f"{cfg.trainer.threads} thread{'s' if cfg.trainer.threads > 1 else ''} (trainer.threads), {learning.network.engine} recurrence (trainer.engine)")
    try:
        recorder = _train(cfg, prepared, run, learning, tracking, progress)
    except Diverged as reason:
        run.note(status="diverged", reason=str(reason))
        if tracking is not None:
            tracking.finish(run, None, "FAILED")
        raise
    if recorder.signal is not None:
        run.note(status="stopped")
        if tracking is not None:
            tracking.client.update_run(tracking.run_id, status="KILLED")
        progress.say(f"{run.path}  stopped and saved: the same command goes on from here")
        raise KeyboardInterrupt
    if tracking is not None:
        with _reaching_mlflow(cfg, "the training is done and kept; the same command sends its record when MLflow answers"):
            tracking.finish(run, load_network(run, prepared))
    run.note(status="finished", validation=recorder.best, seconds=round(recorder.seconds, 3))
    progress.say(f"{run.path}  finished: validation {recorder.best:.4f} nats/char in {recorder.seconds:.0f} s of training")
    return recorder.best


@contextmanager
def _reaching_mlflow(cfg: DictConfig, mend: str):
    """Turns what MLflow says when it cannot be reached into one line with the mend."""
    from mlflow.exceptions import MlflowException
    try:
        yield
    except MlflowException as error:
        raise Refusal(f"tracking.uri={cfg.tracking.uri}: {str(error).splitlines()[0][:200]}: {mend}") from error


def initial_network(cfg: DictConfig, prepared: Prepared) -> torch.nn.Module:
    """The network at step 0, a function of cfg.seed."""
    if cfg.trainer.dtype not in ("float32", "float64"):
        raise Refusal(f"trainer.dtype={cfg.trainer.dtype}: take float32 or float64")
    torch.manual_seed(cfg.seed)
    network = build(cfg.model, len(prepared.vocabulary))
    instantiate(cfg.initialization)(network)
    network.finish_initialization()
    return network.to(getattr(torch, cfg.trainer.dtype))


def _learning(cfg: DictConfig, prepared: Prepared) -> GradientLearning:
    settings = cfg.trainer
    streams = Streams(prepared.train, len(prepared.vocabulary), settings.batch, settings.length, RANK, settings.devices * settings.nodes)
    network = initial_network(cfg, prepared)
    operations = 6 * count_parameters(network) * settings.steps * settings.batch * settings.length
    gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
    network.engine = choose_engine(settings.engine, network.cells, "cuda" if gpu else "cpu", operations, settings.seconds)
    learning = GradientLearning(network, streams, choose(cfg.optimizer), instantiate(cfg.schedule), settings.steps,
                                settings.loss, settings.clip_value, settings.clip_norm, cfg.seed)
    try:
        learning.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise Refusal(f"optimizer={cfg.optimizer.name}: {error}") from error
    return learning


def _plain(node: DictConfig) -> SimpleNamespace:
    """The resolved node as an object with attributes; reading a DictConfig at every step costs more than a small step."""
    return json.loads(json.dumps(OmegaConf.to_container(node, resolve=True)), object_hook=lambda entries: SimpleNamespace(**entries))


def _train(cfg: DictConfig, prepared: Prepared, run: RunDirectory, learning: GradientLearning, tracking: Tracking | None,
           progress: Progress | None) -> Recorder:
    """Trains from the last checkpoint, or from step 0, to the last step or to where it is asked to stop."""
    settings, network = _plain(cfg.trainer), learning.network
    held_out = prepared.validation[:settings.validation_symbols]

    def validate() -> float:
        return mean_loss(network, held_out, len(prepared.vocabulary))[0]

    def sample(step: int) -> str:
        return write(network, prepared.vocabulary, settings.sample.prompt, settings.sample.temperature, settings.sample.length,
                     (cfg.seed << 32) + step)

    recorder = Recorder(settings, run, tracking, progress, validate, sample)
    strategy = "auto" if settings.devices * settings.nodes == 1 else "ddp"
    if strategy == "ddp" and any(part.requires_grad for part in network.initial):
        strategy = "ddp_find_unused_parameters_true"    # a learned initial state takes part in the windows at stream starts alone
    trainer = lightning.Trainer(accelerator=settings.accelerator, devices=settings.devices, num_nodes=settings.nodes,
                                strategy=strategy, max_steps=settings.steps, plugins=[AtomicCheckpointIO()], callbacks=[recorder],
                                logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                                use_distributed_sampler=False)
    trainer.fit(learning, ckpt_path=run.last if run.last.exists() else None)
    return recorder
