"""When learning has diverged, and what to try then."""

import math
from collections.abc import Iterator

import torch
from omegaconf import DictConfig, OmegaConf

USUAL = 3.0  # trainer.explode where gradients are followed


def divergence(cfg: DictConfig, record: dict, scale: float, unit: str, rate: float | None) -> str | None:
    """Why the run of this record is to end, in a line that ends with what to try: its training loss is not finite, or
    above trainer.explode times `scale`. None where it goes on.

    scale  > 0, of a loss that is not astray: pipeline.datasets.batch.Batches
    unit   of losses;  rate  the learning rate, None where there is none
    """
    loss, explode = record["train"], cfg.trainer.explode
    if math.isfinite(loss) and loss <= explode * scale:
        return None
    found = f"the training loss is {loss:.3g} {unit} at step {record['step']:,}"
    if math.isfinite(loss):
        found += f", above trainer.explode={explode:g} times {scale:.3g}, what knowing nothing costs"
    return f"{found}: {_mend(cfg, loss, scale, rate)}"


def _mend(cfg: DictConfig, loss: float, scale: float, rate: float | None) -> str:
    trainer, optimizer = cfg.trainer, cfg.optimizer
    if loss <= USUAL * scale:
        return f"models begin with such losses: take trainer.explode={USUAL:g}"
    if not math.isfinite(loss):
        for place, value in _too_great(cfg):
            return f"{place}={value:g} is not finite in trainer.dtype={trainer.dtype}: take a smaller number"
    if rate is None:
        if math.isfinite(loss):
            return f"take trainer.explode=inf: what learns by optimizer={optimizer.name} may begin far off"
        tries = ["trainer.dtype=float64"] * (trainer.dtype != "float64")
        tries += ["data.standardize=true"] * (cfg.data.get("standardize") is False)
        return f"try {', '.join([*tries, ''])}other settings of model={cfg.model.name}"
    tries = [f"a tenth of the learning rate (optimizer.lr={rate / 10:g})"]
    tries += ["trainer.clip_norm=1"] * (trainer.clip_norm is None or trainer.clip_norm > 1)
    others = [f"{place}={value:g}" for place, value in _numbers("optimizer", optimizer) if place != "optimizer.lr"]
    tries += [f"other values than {', '.join(others)}"] * bool(others)
    return f"try {', or '.join(tries)}"


def _too_great(cfg: DictConfig) -> Iterator[tuple[str, float]]:
    """The settings of the model, its beginning and its learning that are not finite as parameters are."""
    largest = torch.finfo(getattr(torch, cfg.trainer.dtype)).max
    for group in ("model", "initialization", "optimizer"):
        for place, value in _numbers(group, cfg[group]):
            if not abs(value) <= largest:
                yield place, value


def _numbers(place: str, node: DictConfig) -> Iterator[tuple[str, float]]:
    """The numbers of a choice of the configuration, by the names of their settings."""
    for name, value in OmegaConf.to_container(node, resolve=True).items():
        if isinstance(value, dict):
            yield from _numbers(f"{place}.{name}", OmegaConf.create(value))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{place}.{name}", value
