"""From a settled configuration to a network that learns, and from a run to the network that it has learned."""

from typing import TYPE_CHECKING

import psutil
import torch
from omegaconf import DictConfig

from pipeline.command.choice import function
from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batches
from pipeline.datasets.data import Data
from pipeline.models.model import SequenceModel
from pipeline.recurrence.engines import LEAST, SPEED
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import size
from pipeline.runs.settling import build, model_of, rule_of
from pipeline.runs.weights import load_kept

if TYPE_CHECKING:
    from pipeline.learning.learning import Learning


def initial_network(cfg: DictConfig, data: Data) -> SequenceModel:
    """The model at step 0, a function of cfg.seed."""
    torch.manual_seed(cfg.seed)
    network = build(cfg.model, data)
    function(cfg.initialization)(network)
    network.finish_initialization()
    network.look_at(data)
    network.restart = cfg.trainer.restart
    if "networks" in cfg.model:
        for one, member in zip(cfg.model.networks, network.networks, strict=True):
            load_kept(RunDirectory(one.directory).best, member)
    return network.to(getattr(torch, cfg.trainer.dtype))


def on_gpu(cfg: DictConfig) -> bool:
    """Whether the run is trained on GPUs."""
    return cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()


LARGE = 2**30  # bytes of a network in training that are worth a word
IN_TRAINING = 4  # numbers for each parameter: itself, its gradient, and two of the optimizer's


def refuse_too_large(cfg: DictConfig, data: Data) -> str | None:
    """A line that says how large the settled model is, None where it is not. Raises Refusal where this machine cannot
    hold it."""
    if "gradient" not in model_of(cfg).learned_by:
        return None
    try:
        with torch.device("meta"):
            parameters = build(cfg.model, data).count_parameters()
    except (RuntimeError, OverflowError, TypeError):  # more than torch can count
        parameters = 2**63
    gpu = on_gpu(cfg)
    memory = torch.cuda.get_device_properties(0).total_memory if gpu else psutil.virtual_memory().total
    needed = IN_TRAINING * parameters * getattr(torch, cfg.trainer.dtype).itemsize
    said = f"model={cfg.model.name} {size(cfg.model)}: {parameters:,} parameters, {needed / 2**30:,.1f} GiB in training"
    if needed > memory:
        raise Refusal(f"{said}, of which there are {memory / 2**30:,.1f} here: take a smaller model")
    return said if needed > LARGE else None


def initial_learning(cfg: DictConfig, data: Data, rank: int) -> "tuple[Learning, str]":
    """What learns at step 0, with this rank's share of the batches; and how its recurrence is run, in words."""
    trainer = cfg.trainer
    network = initial_network(cfg, data)
    batches = rule_of(cfg).batches(cfg, data, rank, trainer.devices * trainer.nodes)
    device = "cuda" if on_gpu(cfg) else "cpu"
    engine = network.run_on(device, trainer.engine, _operations(cfg, network, batches, device), trainer.seconds)
    return rule_of(cfg).learning(cfg, network, batches), engine


def _operations(cfg: DictConfig, network: SequenceModel, batches: Batches, device: str) -> float:
    """About how many floating-point operations the whole run takes."""
    of_step = max(6 * network.count_parameters() * cfg.trainer.batch, LEAST[device])
    return of_step * cfg.trainer.steps * batches.longest


def expected_seconds(cfg: DictConfig, data: Data) -> float:
    """About how long the run takes, by the usual speed of a core or a GPU; within a factor of a few."""
    network, trainer = initial_network(cfg, data), cfg.trainer
    batches = rule_of(cfg).batches(cfg, data, 0, trainer.devices * trainer.nodes)
    device = "cuda" if on_gpu(cfg) else "cpu"
    seconds = _operations(cfg, network, batches, device) / SPEED[device] / (trainer.threads if device == "cpu" else 1)
    return seconds if trainer.seconds is None else min(seconds, trainer.seconds)


def load_network(run: RunDirectory, data: Data, step: int | None = None) -> SequenceModel:
    """The network with the weights of the run's best validation, or those kept after a training `step`, on the CPU, in
    evaluation mode.

    Raises Refusal when the run has validated nothing yet, or when the data are not those it was trained on.
    """
    if not run.best.exists():
        raise Refusal(f"{run.path} has no weights yet: it writes them at its first validation (trainer.validate_every)")
    if run.facts["data"] != data.card["fingerprint"]:
        raise Refusal(
            f"{run.path} was trained on other data than {data.card['corpus']} now holds (fingerprint "
            f"{run.facts['data'][:12]}, not {data.card['fingerprint'][:12]}): train again"
        )
    cfg = run.config()
    network = build(cfg.model, data).to(getattr(torch, cfg.trainer.dtype))
    network.restart = cfg.trainer.get("restart")  # runs from before this setting have none
    load_kept(run.best if step is None else run.weights(step), network)
    network.run_on("cpu")
    return network.eval()
