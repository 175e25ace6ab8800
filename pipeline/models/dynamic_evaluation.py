"""Learning goes on while a model is judged (Mikolov et al. 2010; Krause et al. 2018)."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Len
from torch import Tensor, nn
from torch.func import functional_call

from pipeline.cells.cell import State
from pipeline.command.refusal import Refusal
from pipeline.command.setting import Called, Count
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Space, Symbols
from pipeline.models.model import SequenceModel
from pipeline.models.of_runs import OfOneRun


class DynamicEvaluation(OfOneRun):
    """theta <- theta - rate dL/dtheta,  L = mean of -log p(x_{t+1}; theta) over a segment of S symbols,
    whenever a segment has been read: it is predicted with the parameters of before, and then learned from.

    Stochastic gradient descent with the state at a segment's beginning as a constant, and no momentum (Mikolov et al.
    2010 with S = 1; Krause et al. 2018, eq. 2 and 3, whose own rule is another).

    member   a finished run, of a model that is learned by gradient
    segment  S >= 1
    rates    >= 0; each is tried on the validation part, a pass each, and the one with the least loss is taken
    Parameters: rate. What is learned is a part of the state: each stream has parameters of its own, they start as the
    member's with it, and the member keeps its own. A part that is read in streams side by side (up to 32) so has each
    learn from its own share alone. Where a text is cut into windows changes nothing. Memory: P numbers a stream, P the
    member's parameters; time: that of learning with one sequence a batch.
    """

    def __init__(
        self,
        reads: Symbols,
        answers: Symbols,
        given: tuple[Space, ...],
        member: str,
        segment: Count,
        rates: Annotated[list[Annotated[float, Ge(0)]], Len(1), Called("numbers from 0, as [0.01,0.1]")],
        networks: Sequence[SequenceModel] = (),
    ):
        super().__init__(reads, answers, given, networks)
        if "gradient" not in self.network.learned_by:
            raise Refusal(f"model.member={member}: has no weights that learn by gradient: take a run of model=rnn")
        self.segment, self.rates = segment, [float(rate) for rate in rates]
        self.rate = nn.Parameter(torch.tensor(self.rates[0]), requires_grad=False)
        self.register_buffer("losses", torch.full((len(rates),), math.inf, dtype=torch.float64))
        self.names, self.shapes = zip(*((name, part.shape) for name, part in self.network.named_parameters()))

    @classmethod
    def passes(cls, settings: Mapping) -> int:
        return len(settings["rates"])

    def start(self, batch: int, *given: Tensor) -> State:
        """Each stream's parameters [1, B, P]; the symbols of the segment that is being read [1, B, S], and how many
        they are [1, B, 1]; the member's states before the segment, and now."""
        weights = nn.utils.parameters_to_vector(self.network.parameters()).detach()
        read = self.reads.zero(1, batch, self.segment).to(self.device)
        state = self.starts(batch, *given)
        return weights.expand(1, batch, -1), read, torch.zeros_like(read[..., :1]), *state, *state

    @torch.no_grad()
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        (weights, read, filled), states = state[:3], state[3:]
        before, now = states[: len(states) // 2], states[len(states) // 2 :]
        count, answers = int(filled[0, 0, 0]), []
        while len(x):
            if count == self.segment:
                weights = self._learned(weights, read[0].t(), torch.cat([read[0, :, 1:].t(), x[:1]]), before)
                before, count = now, 0
            piece, x = x[: self.segment - count], x[self.segment - count :]
            z, now = self._by_stream(weights, piece, now)
            answers.append(z)
            read = read.index_copy(2, torch.arange(count, count + len(piece), device=x.device), piece.t()[None])
            count += len(piece)
        return torch.cat(answers), (weights, read, torch.full_like(filled, count), *before, *now)

    def _by_stream(self, weights: Tensor, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, State]:
        """What the member answers, each stream with its own parameters, and the state after."""
        found = []
        for stream, own in enumerate(weights[0]):
            one = slice(stream, stream + 1)
            found.append(self._call(own, x[:, one], tuple(part[:, one] for part in state)))
        answers, states = zip(*found)
        return torch.cat(answers, dim=1), tuple(torch.cat(parts, dim=1) for parts in zip(*states))

    def _call(self, weights: Tensor, x: Tensor, state: State) -> tuple[Tensor, State]:
        parts = weights.split([shape.numel() for shape in self.shapes])
        named = {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes)}
        return functional_call(self.network, named, (x, state))

    def _learned(self, weights: Tensor, x: Tensor, y: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Each stream's parameters after a segment of inputs and targets [S, B], with the state before it."""
        found = []
        for stream, own in enumerate(weights[0]):
            one = slice(stream, stream + 1)
            asked = int(self.answers.asked(y[:, one]).sum())
            with torch.enable_grad():
                own = own.detach().requires_grad_()
                z, _ = self._call(own, x[:, one], tuple(part[:, one].detach() for part in before))
                [slope] = torch.autograd.grad(self.answers.loss(z, y[:, one]), own)
            found.append(own.detach() - self.rate * slope / max(1, asked))
        return torch.stack(found)[None]

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        """The sum of the losses with the present rate."""
        return {"loss": torch.zeros((), dtype=torch.float64, device=self.device)}

    @torch.no_grad()
    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        """A rate with which the parameters leave for infinity counts as if nothing were known."""
        state, loss = super().accumulate(statistics, batch, state)
        statistics["loss"] += loss.nan_to_num(math.inf, math.inf)
        return state, loss if loss.isfinite() else self._nothing(batch)

    def _nothing(self, batch: Batch) -> Tensor:
        return self.answers.asked(batch.targets).sum().double() * math.log(self.answers.count)

    @torch.no_grad()
    def update(self, statistics: dict[str, Tensor]) -> None:
        tried = int(self.losses.isfinite().sum())
        self.losses[tried] = statistics["loss"].clamp(max=torch.finfo(torch.float64).max)
        last = tried + 1 == len(self.rates)
        self.rate.fill_(self.rates[int(self.losses.argmin()) if last else tried + 1])
