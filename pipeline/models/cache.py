"""A cache of what was read a short while ago (Kuhn & De Mori 1990; Grave, Joulin & Usunier 2017)."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Len
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.command.setting import Called, Count
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Space, Symbols
from pipeline.models.model import SequenceModel
from pipeline.models.of_runs import OfOneRun, at_targets, mixing_weights

STEPS = 32  # looked up at a time


class Cache(OfOneRun):
    """p(x_{t+1}) = (1 - l) p_member(x_{t+1}) + l p_cache(x_{t+1}),
    p_cache(w) = sum_{i=t-W}^{t-1} 1[x_{i+1} = w] exp(theta h_t . h_i) / sum_{i=t-W}^{t-1} exp(theta h_t . h_i)
    (Grave et al. 2017, eq. 4 and 5), h the last layer's units; theta = 0 is how often w was among the last W symbols
    (Kuhn & De Mori 1990), and all that there is for members without hidden units. Before the first element h is 0.

    member  a finished run on a text
    size    W >= 1 symbols
    thetas  >= 0, of which one is taken
    Unknown symbols are not in the cache; while it is empty the member is alone. Parameters: mixing, l in [0, 1],
    learned for each of the thetas by EM on the validation part, in one pass, and theta, the one with the least loss.
    Memory: W (H + 1) numbers a stream.
    """

    def __init__(
        self,
        reads: Symbols,
        answers: Symbols,
        given: tuple[Space, ...],
        member: str,
        size: Count,
        thetas: Annotated[list[Annotated[float, Ge(0)]], Len(1), Called("numbers from 0, as [0,0.1]")],
        networks: Sequence[SequenceModel] = (),
    ):
        super().__init__(reads, answers, given, networks)
        self.size = size
        self.thetas = [float(theta) for theta in thetas] if self.network.has_activities else [0.0]
        self.mixing = nn.Parameter(torch.tensor(0.1), requires_grad=False)
        self.theta = nn.Parameter(torch.tensor(self.thetas[0]), requires_grad=False)
        _, h, _ = self._observe(self.reads.zero(1, 1), self.network.start(1))
        self.units = h.shape[-1]

    def start(self, batch: int, *given: Tensor) -> State:
        """h_{t-W+1} .. h_t [1, B, W, H], the symbols after all of them but the last [1, B, W - 1], and the member's."""
        keys = torch.zeros(1, batch, self.size, self.units, dtype=self.dtype, device=self.device)
        values = self.reads.zero(1, batch, self.size - 1).to(self.device)
        return keys, values, *self.starts(batch, *given)

    @torch.no_grad()
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        *read, after = self._read(x, state)
        return self._mix(*read), after

    def _mix(self, log_p: Tensor, h: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """log p [T, B, V], of what `_read` found."""
        mixed = []
        for at, weights, symbols in self._look_up(h, keys, values, self.theta):
            p = torch.zeros(*weights.shape[:2], self.reads.count + 1, dtype=self.dtype, device=self.device)
            p.scatter_add_(2, symbols[:, None].expand(weights.shape), weights)
            mixing = self.mixing * weights.sum(-1, keepdim=True).clamp(max=1).round()  # 0 where the cache is empty
            cached = (p[..., :-1].log() + mixing.log()).transpose(0, 1)
            mixed.append(torch.logaddexp(log_p[at] + torch.log1p(-mixing).transpose(0, 1), cached))
        return torch.cat(mixed)

    def _observe(self, x: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """The member's logits, its last layer's units [T, B, H], and the state after."""
        if self.network.has_activities:
            z, units, state = self.network.observe(x, state)
            return z, units[-1], state
        z, state = self.network(x, state)
        return z, z[..., :0], state

    def _read(self, x: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor, Tensor, State]:
        """log p_member [T, B, V], h [T, B, H]; all units [B, W + T, H], and the symbols after each [B, W + T - 1]; the
        state after."""
        keys, values, *own = state
        z, h, own = self._observe(x, tuple(own))
        keys = torch.cat([keys[0], h.transpose(0, 1)], dim=1)
        values = torch.cat([values[0], x.t()], dim=1)
        after = keys[None, :, len(x) :], values[None, :, len(x) :], *own
        return torch.log_softmax(z, dim=-1), h, keys, values, after

    def _look_up(
        self, h: Tensor, keys: Tensor, values: Tensor, theta: Tensor
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """For some steps at a time, which: the weights [B, steps, M] of what the cache holds, which sum to 1, or to 0
        where it is empty, and the symbols [B, M]."""
        for first in range(0, len(h), STEPS):
            at = slice(first, min(first + STEPS, len(h)))
            step = torch.arange(at.stop - first, device=h.device)[:, None]
            place = torch.arange(at.stop - first + self.size - 1, device=h.device)
            within = slice(first, first + len(place))
            symbols = values[:, within]
            there = (place >= step) & (place < step + self.size) & (symbols < self.reads.count)[:, None]
            scores = theta * torch.einsum("tbh,bmh->btm", h[at], keys[:, within])
            weights = torch.softmax(scores.masked_fill(~there, -torch.inf), dim=-1)
            yield at, weights.nan_to_num(0.0), symbols

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        """Of each target the member's probability, and the cache's for each theta; zeros where nothing is asked, or the
        cache is empty."""
        shape = elements, 1 + len(self.thetas)
        return {"likelihoods": torch.zeros(shape, dtype=torch.float64, device=self.device)}

    @torch.no_grad()
    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        log_p, h, keys, values, after = self._read(batch.inputs, state)
        member, columns = at_targets(log_p, batch.targets).exp(), []
        some = torch.zeros_like(member, dtype=torch.bool)  # whether there is something in the cache
        for theta in self.thetas:
            cached = torch.zeros_like(member)
            for at, weights, symbols in self._look_up(h, keys, values, torch.tensor(theta, dtype=h.dtype)):
                found = symbols[:, None] == batch.targets[at].t()[..., None]
                cached[at] = (weights * found).sum(-1).t()
                some[at] = weights.sum(-1).t() > 0
            columns.append(cached)
        asked = self.answers.asked(batch.targets) & some
        found = torch.stack([member, *columns], dim=-1)[asked].double()
        statistics["likelihoods"].index_add_(0, batch.positions[asked], found)
        z = self._mix(log_p, h, keys, values)
        return after, self.answers.loss(z.double(), batch.targets)

    @torch.no_grad()
    def update(self, statistics: dict[str, Tensor]) -> None:
        likelihoods = statistics["likelihoods"]
        likelihoods = likelihoods[likelihoods[:, 0] > 0]
        if not len(likelihoods):
            self.mixing.zero_()
            return
        found = []
        for column, theta in enumerate(self.thetas, start=1):
            both = likelihoods[:, [0, column]]
            weights = mixing_weights(both)
            found.append(((both @ weights).log().sum().item(), theta, weights[1]))
        _, theta, mixing = max(found, key=lambda one: one[0])
        self.theta.fill_(theta)
        self.mixing.copy_(mixing)
