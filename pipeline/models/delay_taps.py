"""Autoregression on delay taps: the model without memory."""

import torch
from torch import Tensor, nn

from pipeline.cells.products import linear
from pipeline.datasets.space import Reals, Symbols
from pipeline.models.model import SequenceModel, State
from pipeline.models.taps import delayed, no_taps


class DelayTaps(SequenceModel):
    """prediction_{t+1} = b + sum_{k=0}^{K-1} W_k x_{t-k}, x a one-hot symbol (a prediction is then the next one's
    logits) or a vector of values.

    space  of the sequences; unknown symbols, and what lies before a sequence, are read as zeros
    taps   K >= 1
    Parameters: weight [out, K, in], bias [out]; K in out + out numbers, all zero at first. Source: Yule 1927 for the
    autoregression of a series.
    """

    def __init__(self, space: Symbols | Reals, taps: int):
        super().__init__()
        self.space, self.taps = space, taps
        inputs, outputs = (
            (space.count, space.count)
            if isinstance(space, Symbols)
            else (space.observed + space.driving, space.observed)
        )
        self.weight = nn.Parameter(torch.zeros(outputs, taps, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def start(self, batch: int) -> State:
        return (no_taps(self.space, batch, self.taps, self.weight),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen, last = delayed(x, *state)
        if isinstance(self.space, Reals):
            return linear(seen.flatten(2), self.weight.flatten(1), self.bias), (last,)
        prediction = self.bias.expand(*x.shape, -1)
        for delay in range(self.taps):
            prediction = prediction + linear(seen[:, :, delay], self.weight[:, delay])
        return prediction, (last,)
