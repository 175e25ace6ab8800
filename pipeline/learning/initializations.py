"""How parameters start. Each function draws from torch's global generator, in the order of `named_parameters`, and acts
on cells and readouts by the roles of their parameters: pipeline.models.model.SequenceModel. Biases start at 0 but for
`library` and `uniform`; what a cell's paper sets, such as a forget bias, is added after the draw.

Shapes: R rows and C columns of a matrix; H hidden.
"""

import torch
from torch import Tensor, nn

from pipeline.command.setting import Count, Weight, Width
from pipeline.models.model import SequenceModel


def library(network: SequenceModel) -> None:
    """PyTorch's own draw, made when the network was built: uniform in +-1/sqrt(H)."""


@torch.no_grad()
def gaussian(network: SequenceModel, std: Width) -> None:
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


@torch.no_grad()
def orthogonal(network: SequenceModel, gain: Width) -> None:
    """W^T W = gain^2 I for each recurrent `blocks` W, uniform among such matrices; biases 0, all else as PyTorch draws
    it (Saxe, McClelland & Ganguli 2014)."""
    for role, parameter in network.parameters_by_role():
        if role == "recurrent":
            for block in blocks(parameter):
                nn.init.orthogonal_(block, gain)
        elif role == "bias":
            parameter.zero_()


@torch.no_grad()
def identity(network: SequenceModel, scale: Weight, std: Width) -> None:
    """W = scale I for each of the recurrent `blocks` W, all other weights ~ N(0, std^2), biases 0 (Le, Jaitly & Hinton
    2015: scale 1, or 0.01 for shorter memory; std 0.001)."""
    for role, parameter in network.parameters_by_role():
        if role == "recurrent":
            for block in blocks(parameter):
                nn.init.eye_(block).mul_(scale)
        elif role == "bias":
            parameter.zero_()
        else:
            parameter.normal_(0.0, std)


@torch.no_grad()
def sparse(network: SequenceModel, incoming: Count, std: Width) -> None:
    """In every row of an input, recurrent or output matrix, the weights into one unit, min(incoming, C) drawn places ~
    N(0, std^2), the others 0; embeddings and peepholes, of which a unit hears one, ~ N(0, std^2); biases 0
    (Martens 2010, section 5: incoming 15, std 1)."""
    for role, parameter in network.parameters_by_role():
        if role == "bias":
            parameter.zero_()
        elif role in ("embedding", "peephole"):
            parameter.normal_(0.0, std)
        else:
            draw_sparse(parameter.flatten(0, -2) if role == "recurrent" else parameter.flatten(1), incoming, std)


@torch.no_grad()
def echo_state(
    network: SequenceModel, spectral_radius: Width, incoming: Count, input_scale: Width, output_scale: Width
) -> None:
    """Each of the recurrent `blocks` sparse as by `sparse`, then scaled to max |eigenvalue| = spectral_radius, or to
    that singular value where it is not square; input weights ~ N(0, input_scale^2), output weights ~
    N(0, output_scale^2), embeddings ~ N(0, 1), biases and peepholes 0 (Sutskever, Martens, Dahl & Hinton 2013, table 4:
    spectral_radius 1.1, incoming 15, output_scale 0.1, input_scale 0.001 for adding and multiplication, 0.1 for
    memorization). Their output biases start at the answers' means: model.centred."""
    scales = {"input": input_scale, "output": output_scale, "embedding": 1.0}
    for role, parameter in network.parameters_by_role():
        if role == "recurrent":
            for block in blocks(parameter):
                draw_sparse(block, incoming, 1.0)
                block *= spectral_radius / largest(block)
        elif role in scales:
            parameter.normal_(0.0, scales[role])
        else:
            parameter.zero_()


def blocks(recurrent: Tensor) -> tuple[Tensor, ...]:
    """The square matrices [C, C] that stand one above the other in a recurrent parameter [.., R, C], one for each gate;
    matrices [R, C] where R is no multiple of C. Views."""
    rows, columns = recurrent.shape[-2:]
    return recurrent.flatten(0, -2).split(rows if rows % columns else columns)


def draw_sparse(matrix: Tensor, incoming: int, std: float) -> None:
    """In each row of [R, C], min(incoming, C) places, all as likely, ~ N(0, std^2), the others 0."""
    rows, columns = matrix.shape
    places = torch.rand(rows, columns).topk(min(incoming, columns)).indices
    matrix.zero_().scatter_(1, places, std * torch.randn(places.shape, dtype=matrix.dtype))


def largest(matrix: Tensor) -> Tensor:
    """max |eigenvalue| of a square matrix, the largest singular value of another."""
    square = matrix.shape[0] == matrix.shape[1]
    values = torch.linalg.eigvals if square else torch.linalg.svdvals
    return values(matrix.double()).abs().max().to(matrix.dtype)
