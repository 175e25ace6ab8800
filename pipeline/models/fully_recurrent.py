"""A fully recurrent network: input, hidden and output units in one vector, and ways of giving it its inputs.

Shapes: T time, B batch, D width of what is read, G of what is given, O of what is answered, N units of the vector.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cells.cell import State
from pipeline.cells.products import linear
from pipeline.cells.rnn import TanhRNN
from pipeline.command.setting import NotNegative, Whole
from pipeline.datasets.data import Data
from pipeline.datasets.space import Bits, Reals, Space
from pipeline.models.model import SequenceModel
from pipeline.recurrence.stack import Stack


class FullyRecurrent(SequenceModel):
    """a_t = W h_{t-1} + U x_t + b, h_t = tanh(a_t): every unit sees every unit (Hinton 2012, week 7). The first O units
    are the output units: nothing but their activity answers, as logits z = 2 a where it is the expectation of bits +-1,
    sigmoid(2 a) = (1 + tanh a) / 2, as z = a for symbols, as z = h for real values.

    What is given before the first step, G numbers, reaches the network in one of two ways:
    inputs  initial  h_{-1} of the first G units, that of the others is 0. With `hidden`=0 and G >= O these are all
                     units, and the output units are among them; with hidden units, a subset
            clamped  the state of G input units of their own, from the first step to the last: W has a column for each,
                     and no row
    hidden  units that are neither given nor answered with
    gain    g: W ~ N(0, g^2 / N) and b = 0 at first, after every initialization, which without inputs is the random
            network of Sompolinsky, Crisanti & Sommers 1988: all dies out for g < 1, and there is chaos for g > 1 as
            N -> infinity; None: as the initialization draws them
    N = max(G, O) + hidden, or clamped O + hidden. Parameters: W [N, N], U [N, D] and the clamped units' columns [N, G],
    b [N]. The state: h [1, B, N], and where they are clamped [1, B, G].
    """

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        inputs: Literal["initial", "clamped"],
        hidden: Whole,
        gain: NotNegative | None,
    ):
        super().__init__(reads, answers, given)
        width = sum(space.width for space in given)
        self.clamps, self.gain = inputs == "clamped" and bool(given), gain
        units = hidden + (answers.width if self.clamps else max(width, answers.width))
        self.stack = Stack(TanhRNN, reads.width + width * self.clamps, layers=1, hidden=units)

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if not all(isinstance(space, (Reals, Bits)) for space in data.given):
            return "is given vectors of numbers before the first step, not symbols: take data that give numbers"
        return None

    def start(self, batch: int, *given: Tensor) -> State:
        (h,) = self.stack.start(batch)
        if not given:
            return (h,)
        numbers = torch.cat(given, -1)[None]
        if self.clamps:
            return h, numbers
        return (F.pad(numbers, (0, h.shape[-1] - numbers.shape[-1])),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        z, _, state = self.observe(x, state)
        return z, state

    def observe(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        x = self._seen(x, state)
        [h], after = self.stack(x, state[:1])
        return self._answer(x, state[0], h), [h], (*after, *state[1:])

    def activities(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        outputs, after = self.stack(self._seen(x, state), state[:1])
        return outputs, (*after, *state[1:])

    def _seen(self, x: Tensor, state: State) -> Tensor:
        """What the units see beside one another: what is read, and what is clamped."""
        if not self.clamps:
            return x
        if not x.is_floating_point():
            x = F.one_hot(x, self.reads.width + 1)[..., :-1].to(self.dtype)
        return torch.cat([x, state[1].expand(len(x), -1, -1)], -1)

    def _answer(self, x: Tensor, before: Tensor, h: Tensor) -> Tensor:
        outputs = self.answers.width
        if isinstance(self.answers, Reals):
            return h[..., :outputs]
        [cell] = self.stack.cells
        a = linear(x, cell.input_weight[:outputs], cell.input_bias[:outputs])
        a = a + linear(torch.cat([before, h[:-1]]), cell.recurrent["h"][:outputs])
        return 2 * a if isinstance(self.answers, Bits) else a

    def run_on(self, device: str, engine: str = "auto", operations: float = 0.0, seconds: float | None = None) -> str:
        self.stack.run_on(device, engine, operations, seconds)
        return f"{self.stack.engine} recurrence (trainer.engine)"

    @torch.no_grad()
    def finish_initialization(self) -> None:
        self.stack.finish_initialization()
        if self.gain is not None:
            [cell] = self.stack.cells
            nn.init.normal_(cell.recurrent["h"], 0.0, self.gain / math.sqrt(cell.hidden))
            nn.init.zeros_(cell.input_bias)
