"""How parameters start. Each function draws from torch's global generator, in the order of `named_parameters`, and acts
on cells and readouts by the roles of their parameters: pipeline.models.model.SequenceModel."""

import torch

from pipeline.command.setting import Width
from pipeline.models.model import SequenceModel


def library(network: SequenceModel) -> None:
    """PyTorch's own draw, made when the network was built: uniform in +-1/sqrt(H)."""


@torch.no_grad()
def normal(network: SequenceModel, std: Width) -> None:
    """W ~ N(0, std^2), biases 0 (min-char-rnn: std 0.01)."""
    for role, parameter in network.parameters_by_role():
        if role == "bias":
            parameter.zero_()
        else:
            parameter.normal_(0.0, std)


@torch.no_grad()
def uniform(network: SequenceModel, bound: Width) -> None:
    """Every parameter ~ U(-bound, bound) (char-rnn and Karpathy et al. 2015: 0.08)."""
    for _, parameter in network.parameters_by_role():
        parameter.uniform_(-bound, bound)
