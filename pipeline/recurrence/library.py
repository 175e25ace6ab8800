"""PyTorch's own kernels (oneDNN, cuDNN), for the cells that it ships."""

import warnings

import torch
from torch import Tensor

from pipeline.cells.cell import Cell, State
from pipeline.cells.gru import ResetAfterGRU
from pipeline.cells.lstm import LSTM
from pipeline.cells.products import linear
from pipeline.cells.rnn import ReluRNN, TanhRNN

# PyTorch copies a layer's weights side by side for cuDNN at each call, and warns of it: that costs little, and they
# stay parameters of the cell.
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")

# Exactly these: a class that is made from one of them has equations of its own.
IN_TORCH = {LSTM: "lstm", ResetAfterGRU: "gru", TanhRNN: "rnn_tanh", ReluRNN: "rnn_relu"}


def in_torch(cell: Cell) -> str | None:
    """What computes such a cell, of torch, if anything does."""
    return IN_TORCH.get(type(cell))


def by_library(cell: Cell, x: Tensor, state: State, recurrent: dict[str, Tensor]) -> tuple[Tensor, State]:
    """Inputs [T, B, D] or symbols [T, B] and the state before them -> outputs [T, B, H] and the state after, with these
    matrices of the products."""
    read, rows = cell.input_weight, len(cell.input_weight)
    if not x.is_floating_point() and cell.inputs > rows:  # one-hot vectors are longer than what is read of them
        x, read = linear(x, read), torch.eye(rows, dtype=read.dtype, device=x.device)
    elif not x.is_floating_point():
        x = read.new_zeros(*x.shape, cell.inputs + 1).scatter_(-1, x[..., None], 1)[..., :-1]
    name = in_torch(cell)
    [(product, weight)] = recurrent.items()
    bias = cell.recurrent_bias[product] if product in cell.recurrent_bias else torch.zeros_like(cell.input_bias)
    flat = [read, weight, cell.input_bias, bias]
    state = tuple(part.unsqueeze(0).contiguous() for part in state)
    outputs, *after = getattr(torch, name)(
        x, state if name == "lstm" else state[0], flat, True, 1, 0.0, cell.training, False, False
    )
    return outputs, tuple(part.squeeze(0) for part in after)
