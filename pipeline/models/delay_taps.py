"""Autoregression on delay taps: the model without memory."""

import torch
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.cells.products import linear
from pipeline.command.setting import Whole
from pipeline.datasets.space import Space
from pipeline.models.model import SequenceModel
from pipeline.models.taps import delayed, no_taps


class DelayTaps(SequenceModel):
    """z_t = b + sum_{k=0}^{K-1} W_k x_{t-k}, x a one-hot symbol or a vector of numbers.

    reads, answers  unknown symbols, and what lies before a sequence, are read as zeros
    taps            K >= 0; with none, what is asked is answered alike at every step: the mean, or how often each is
    Parameters: weight [O, K, D], bias [O]; all zero at first. Source: Yule 1927 for the autoregression of a series.
    """

    roles = {"weight": "output", "bias": "bias"}

    def __init__(self, reads: Space, answers: Space, given: tuple[Space, ...], taps: Whole):
        super().__init__(reads, answers, given)
        self.taps = taps
        self.weight = nn.Parameter(torch.zeros(answers.width, taps, reads.width))
        self.bias = nn.Parameter(torch.zeros(answers.width))

    def start(self, batch: int) -> State:
        return (no_taps(self.reads, batch, max(self.taps, 1), self.weight),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen, last = delayed(x, *state)
        seen = seen[:, :, : self.taps]
        if x.is_floating_point():
            return linear(seen.flatten(2), self.weight.flatten(1), self.bias), (last,)
        z = self.bias.expand(*x.shape, -1)
        for delay in range(self.taps):
            z = z + linear(seen[:, :, delay], self.weight[:, delay])
        return z, (last,)
