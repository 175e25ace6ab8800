"""What makes a run the run it is."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from pipeline.datasets.data import Data

# Settings of the trainer that change how a run runs, not what comes out.
HOW = (
    "record_every",
    "checkpoint_every",
    "weights_at",
    "engine",
    "threads",
    "accelerator",
    "devices",
    "nodes",
    "progress",
)

# Settings that came later, as they are where nobody sets them, and what was called otherwise: runs from before keep
# their names.
LATER = {
    "trainer": {"restart": None, "ema_decay": None, "matmul_precision": "ieee"},
    "model": {"centred": False, "locked_dropout": False, "embedding_dropout": 0.0, "weight_drop": 0.0},
}
FORMERLY = {"pipeline.learning.initializations.gaussian": "pipeline.learning.initializations.normal"}

SIZES = ("layers", "hidden", "states", "units", "order", "taps")


@dataclass(frozen=True)
class Identity:
    """study / data-model-SIZE-optimizer-hash-sSEED. `hash` covers everything
    that changes the result except the seed."""

    study: str
    name: str
    hash: str
    seed: int
    directory: Path


def identify(cfg: DictConfig, data: "Data") -> Identity:
    """The identity of the settled run `cfg` on these data.

    The hash is over the resolved model, optimizer, initialization, schedule and trainer, without what only says how to
    run (HOW) or is as it always was (LATER), by its first name (FORMERLY), and over the fingerprint of the data, which
    stands for everything under `data`. Runs that the model is made of count by their hashes, and by their seeds where
    these are not its own. Whole floats count as integers, so `5` and `5.0` are one run.
    """
    parts = identifying(cfg)
    target = parts["initialization"]["_target_"]
    parts["initialization"]["_target_"] = FORMERLY.get(target, target)
    text = json.dumps(_canonical(parts | {"data": data.card["fingerprint"]}), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = "-".join(
        filter(None, (cfg.data.name, cfg.model.name, size(cfg.model), cfg.optimizer.name, digest, f"s{cfg.seed}"))
    )
    return Identity(cfg.study.name, name, digest, cfg.seed, Path(cfg.paths.runs) / cfg.study.name / name)


def identifying(cfg: DictConfig) -> dict[str, dict]:
    """The settings of a settled configuration that tell what comes out, beside data and seed, by group: without HOW,
    and without what is LATER and as it always was."""
    parts = {
        group: OmegaConf.to_container(cfg[group], resolve=True)
        for group in ("model", "optimizer", "initialization", "schedule", "trainer")
    }
    for key in HOW:
        parts["trainer"].pop(key, None)  # runs from before a setting have none
    if "networks" in parts["model"]:  # members by what makes them the runs they are, relative to this one's seed
        settings = parts["model"]
        settings.pop("member", None)
        settings["members"] = [
            one["hash"] if one["seed"] == cfg.seed else f"{one['hash']}-s{one['seed']}"
            for one in settings.pop("networks")
        ]
    if isinstance(parts["model"].get("parameter_budget"), str):  # the width that it gave says all of it
        parts["model"]["parameter_budget"] = None
    for group, settings in LATER.items():
        for key, value in settings.items():
            if parts[group].get(key) == value:
                parts[group].pop(key, None)
    return parts


def machine(gpu: bool, threads: int) -> str:
    """What a run's training time was taken on, for people."""
    if gpu:
        import torch

        from pipeline.recurrence.precision import matmul_precision

        return f"{torch.cuda.get_device_name()}, products in {matmul_precision()}"
    known = Path("/proc/cpuinfo")
    processor = known.exists() and re.search(r"model name\s*: (.*)", known.read_text())
    name = processor[1] if processor else platform.machine()
    return f"{name}, {threads} of {os.cpu_count()} cores"


def _canonical(value):
    if isinstance(value, dict):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def flat(node: Mapping, before: str = "") -> dict:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    found = {}
    for key, value in node.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def size(model: Mapping) -> str:
    """The numbers that people tell models of one kind apart by, as "2x128" for layers and hidden units; empty where
    there are none."""
    return "x".join(str(model[key]) for key in SIZES if key in model)


def asked_size(model: Mapping) -> str:
    """As `size`, with the network whose parameters a layer's width was to equal in its place, as "2x(lstm 1x64)"."""
    budget = model.get("parameter_budget")
    return size({**model, "hidden": f"({budget})"} if isinstance(budget, str) else model)
