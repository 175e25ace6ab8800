"""A feed-forward network with a place for each element of a sequence."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cells.cell import State
from pipeline.command.setting import Count
from pipeline.datasets.data import Data
from pipeline.datasets.space import Space
from pipeline.models.model import SequenceModel


class FixedWidth(SequenceModel):
    """h_t = tanh(b + sum_{k=0}^{t} W_k x_k), z_t = c_t + U_t h_t for t < N; z_t = 0 from N on: one tanh layer over N
    places, x_k in place k, and an output of its own for each place. Places that are still to be read are empty, so that
    an answer rests on the elements up to its own, as with other models.

    reads, answers  symbols are read as one-hot, unknown ones as zeros
    width           N >= 1: nothing beyond it is read, and answers there are those of one who knows nothing
    hidden          H >= 1 tanh units
    No weight serves two places. Parameters: W [N, D, H], b [H], U [N, H, O], c [N, O]. At first
    W and U are uniform in +-1/sqrt(D) and +-1/sqrt(H), as if one place were filled, and b and c zero. The state: the
    sum so far [1, B, H], and t [1, B, 1].
    """

    roles = {"places": "input", "bias": "bias", "outputs": "output", "output_bias": "bias"}

    def __init__(self, reads: Space, answers: Space, given: tuple[Space, ...], width: Count, hidden: Count):
        super().__init__(reads, answers, given)
        self.width = width
        self.places = nn.Parameter(_uniform(width, reads.width, hidden, bound=1 / math.sqrt(reads.width)))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.outputs = nn.Parameter(_uniform(width, hidden, answers.width, bound=1 / math.sqrt(hidden)))
        self.output_bias = nn.Parameter(torch.zeros(width, answers.width))

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if data.contiguous:
            return "has a place for each element and no more: take model=delay_taps, or data=binary_addition"
        return super().fits(data)

    def start(self, batch: int) -> State:
        return (
            torch.zeros(1, batch, len(self.bias), device=self.device, dtype=self.dtype),
            torch.zeros(1, batch, 1, device=self.device, dtype=torch.long),
        )

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h, at, after = self._run(x, state)
        z = torch.baddbmm(self.output_bias[at][:, None], h, self.outputs[at])
        return z * self._inside(state, len(x))[:, None, None], after

    def activities(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        h, _, after = self._run(x, state)
        return [h], after

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """h [T, B, H], the places [T], each below N, and the state after."""
        before, steps = state
        if not x.is_floating_point():
            x = F.one_hot(x, self.reads.width + 1)[..., :-1].to(self.dtype)
        at = (steps[0, 0] + torch.arange(len(x), device=x.device)).clamp(max=self.width - 1)
        weights = self.places[at] * self._inside(state, len(x))[:, None, None]
        sums = before + torch.bmm(x, weights).cumsum(0)
        return torch.tanh(sums + self.bias), at, (sums[-1:], steps + len(x))

    def _inside(self, state: State, length: int) -> Tensor:
        """1 at steps that have a place, else 0."""
        steps = state[1]
        return (steps[0, 0] + torch.arange(length, device=steps.device) < self.width).to(self.dtype)


def _uniform(*shape: int, bound: float) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound)
