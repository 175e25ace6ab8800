"""From composed configuration nodes to objects."""

import math
from collections.abc import Mapping

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import Data
from pipeline.datasets.space import Reals, Symbols
from pipeline.models.model import SequenceModel

SIZES = ("layers", "hidden", "states", "units", "order", "taps")
# What a pass reads at once where the trainer does not say: streams side by side (symbols; a series is one), and steps.
PASS_STREAMS, PASS_LENGTH = 512, {Symbols: 200, Reals: 10_000}


def choose(node: Mapping) -> object:
    """What the `_target_` of a config group's choice makes, without the `name` that the choice has for people."""
    return instantiate({key: value for key, value in node.items() if key != "name"})


def size(model: Mapping) -> str:
    """The numbers that people tell models of one kind apart by, as "2x128" for layers and hidden units;
    empty where there are none."""
    return "x".join(str(model[key]) for key in SIZES if key in model)


def settle(cfg: DictConfig, data: Data) -> None:
    """Replaces what the composition leaves to the data by numbers: a width from a budget of parameters,
    the steps of passes over the data."""
    settle_width(cfg.model, data.space)
    if "passes" in cfg.optimizer:
        _settle_passes(cfg, data)


def refuse_other_rules(cfg: DictConfig) -> None:
    """Raises Refusal when the model does not learn by what `optimizer` names."""
    rule, chosen = get_class(cfg.model._target_).rule, cfg.optimizer.get("rule", "gradient")
    if rule != chosen:
        fits = (
            "sgd, momentum, nesterov, adagrad, rmsprop, adam or adamw"
            if rule == "gradient"
            else f"{rule}, or leave it out"
        )
        raise Refusal(
            f"optimizer={cfg.optimizer.name}: model={cfg.model.name} does not learn by it: take optimizer={fits}"
        )


def _settle_passes(cfg: DictConfig, data: Data) -> None:
    """trainer.steps as windows of optimizer.passes passes;
    trainer.batch, .length and .validate_every where they are null."""
    trainer, symbols = cfg.trainer, isinstance(data.space, Symbols)
    if trainer.length is None:
        trainer.length = (
            PASS_LENGTH[type(data.space)] if data.elements > PASS_LENGTH[type(data.space)] else data.elements - 1
        )
    if trainer.batch is None:
        trainer.batch = (
            2 ** int(math.log2(min(PASS_STREAMS, max(1, data.elements // (5 * trainer.length))))) if symbols else 1
        )
    windows = len(data.streams(trainer.batch, trainer.length))
    if trainer.steps not in (None, cfg.optimizer.passes * windows):
        raise Refusal(
            f"trainer.steps={trainer.steps}: "
            f"model={cfg.model.name} learns in passes over the data: set optimizer.passes instead"
        )
    trainer.steps = cfg.optimizer.passes * windows
    if trainer.validate_every is None:
        trainer.validate_every = windows


def settle_width(model: DictConfig, space: Symbols | Reals) -> None:
    """Sets model.hidden to the largest width whose network has at most model.parameter_budget parameters,
    where one is given."""
    if model.get("parameter_budget") is None:
        return

    def parameters(hidden: int) -> int:
        with torch.device("meta"):
            return build(OmegaConf.merge(model, {"hidden": hidden}), space).count_parameters()

    low, high = 0, 1
    while parameters(high) <= model.parameter_budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) <= model.parameter_budget else (low, middle)
    if low == 0:
        raise Refusal(
            f"model.parameter_budget={model.parameter_budget}: "
            f"{model.name} has {parameters(1)} parameters with one unit: take more"
        )
    model.hidden = low


def build(model: DictConfig, space: Symbols | Reals) -> SequenceModel:
    """The model that `model` describes over sequences of `space`, freshly initialized from torch's global generator."""
    make = choose({**{key: value for key, value in model.items() if key != "parameter_budget"}, "_partial_": True})
    return make(space=space)
