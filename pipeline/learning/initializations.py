"""How parameters start. Each function draws from torch's global generator, in the order of `named_parameters`."""

import torch
from torch import nn


def library(network: nn.Module) -> None:
    """PyTorch's own draw, made when the network was built: uniform in +-1/sqrt(H)."""


@torch.no_grad()
def normal(network: nn.Module, std: float) -> None:
    """W ~ N(0, std^2), biases 0 (min-char-rnn: std 0.01)."""
    for parameter in _trained(network):
        if parameter.dim() > 1:
            parameter.normal_(0.0, std)
        else:
            parameter.zero_()


@torch.no_grad()
def uniform(network: nn.Module, bound: float) -> None:
    """Every parameter ~ U(-bound, bound) (char-rnn and Karpathy et al. 2015: 0.08)."""
    for parameter in _trained(network):
        parameter.uniform_(-bound, bound)


def _trained(network: nn.Module):
    return (parameter for parameter in network.parameters() if parameter.requires_grad)
