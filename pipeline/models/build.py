"""From composed configuration nodes to objects."""

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn


def choose(node: DictConfig, **arguments: object) -> object:
    """What the `_target_` of a config group's choice makes, without the `name` that the choice has for people."""
    return instantiate({key: value for key, value in node.items() if key != "name"}, **arguments)


def build(model: DictConfig, symbols: int) -> nn.Module:
    """The network that `model` describes over `symbols` symbols, freshly initialized from torch's global generator."""
    return choose(model, symbols=symbols)


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
