"""From composed configuration nodes to objects."""

from collections.abc import Mapping

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from pipeline.verb import Refusal


def choose(node: Mapping, **arguments: object) -> object:
    """What the `_target_` of a config group's choice makes, without the `name` that the choice has for people."""
    return instantiate({key: value for key, value in node.items() if key != "name"}, **arguments)


def settle_width(model: DictConfig, symbols: int) -> None:
    """Sets model.hidden to the largest width whose network has at most model.parameter_budget parameters, where one is given."""
    if model.get("parameter_budget") is None:
        return

    def size(hidden: int) -> int:
        with torch.device("meta"):
            return count_parameters(build(OmegaConf.merge(model, {"hidden": hidden}), symbols))
    low, high = 0, 1
    while size(high) <= model.parameter_budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= model.parameter_budget else (low, middle)
    if low == 0:
        raise Refusal(f"model.parameter_budget={model.parameter_budget}: {model.name} has {size(1)} parameters with one unit: take more")
    model.hidden = low


def build(model: DictConfig, symbols: int) -> nn.Module:
    """The network that `model` describes over `symbols` symbols, freshly initialized from torch's global generator."""
    return choose({key: value for key, value in model.items() if key != "parameter_budget"}, symbols=symbols)


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
