"""Hidden Markov model, learned by expectation-maximization (Baum-Welch).

Shapes: T time, B streams, N states, V symbols, D observed values, S = T + 1 observations of a window with T targets, W
>= N numbers in a row that holds N states, C steps of a stretch of time.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cells.cell import State
from pipeline.command.setting import NotNegative, Positive
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import Data
from pipeline.datasets.space import Reals, Space, Symbols
from pipeline.models import hmm_compiled
from pipeline.models.emissions import Categorical, Gaussian, Likelihood, draw_proportions, proportions
from pipeline.models.model import StatisticsModel, reads_and_foretells

SCALE = 4  # steps from one scaling to the next
CACHE = 200_000  # bytes of one step of the streams that are run side by side: SCALE times as many stay in the cache
STRETCH = 16  # most scalings between two of what is done for many steps at once; rounding adds up so long
MEMORY = 2**27  # bytes of all their steps, unless one stream alone has more


class Room(dict):
    """Memory to compute in, by name, kept between calls: fresh memory costs more than what is done with it.
    A copy of it is empty."""

    def __reduce__(self):
        return Room, ()

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """[shape] of the dtype and on the device of `like`, the same memory at every call;
        its numbers are what the last one left."""
        key, size = (name, like.dtype, like.device), math.prod(shape)
        if key not in self or len(self[key]) < size:
            with torch.inference_mode(False):  # what is made within it could not be written to without it
                self[key] = torch.empty(size, dtype=like.dtype, device=like.device)
        return self[key][:size].view(shape)


class HiddenMarkovModel(StatisticsModel):
    """p(z_0) = initial[z_0],  p(z_t = j | z_{t-1} = i) = transition[i, j],  x_t ~ emission of state z_t
    (Rabiner 1989).

    reads      Symbols: a categorical distribution for each state;
               Reals without driving inputs: a Gaussian with full covariance for each
    states     N >= 1
    smoothing  >= 0, added to every expected count in the M step (a Dirichlet prior with 1 + smoothing; for Gaussians
               see pipeline.models.emissions): a symbol that was never seen has a probability, a state that was never
               used has uniform ones. With 0 such a state keeps its parameters. No learned probability is below
               1e-7 in any case.
    covariance_floor  > 0, least eigenvalue of a covariance, as part of the series' variance
    precision  float64 or float32, of the recursions in learning: products of positive numbers, scaled so often that
               float32 is as good as 1e-5; sums and parameters are float64 with both
    Parameters: initial [N], transition [N, N], and the emission's, all float64; initial, transition and categorical
    emissions are drawn uniformly among all distributions.

    State: p(z_t | x_0 .. x_{t-1}) of the element x_t that is read next, [1, B, N]; initial at a start. Symbol V, and a
    vector with a value that is not finite, are missing: they tell nothing of the state.
    """

    learned_by = ("em",)

    def __init__(
        self,
        reads: Symbols | Reals,
        answers: Space,
        given: tuple[Space, ...],
        states: Annotated[int, Ge(1), Le(20_000)],
        smoothing: NotNegative,
        covariance_floor: Positive,
        precision: Literal["float32", "float64"],
    ):
        super().__init__(reads, answers, given)
        self.states, self.smoothing, self.precision = states, smoothing, getattr(torch, precision)
        self.initial = nn.Parameter(draw_proportions(states), requires_grad=False)
        self.transition = nn.Parameter(draw_proportions(states, states), requires_grad=False)
        self.room = Room()
        self.emission = (
            Categorical(states, reads.count)
            if isinstance(reads, Symbols)
            else Gaussian(states, reads.width, covariance_floor)
        )

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if not (reads_and_foretells(data, Symbols) or reads_and_foretells(data, Reals)):
            return "predicts the sequence that it reads, and the data ask something else: take model=lstm"
        if data.reads != data.answers:
            driving = data.reads.width - data.answers.width
            return f"knows no driving inputs, the series has {driving}: take model=lds, echo_state or delay_taps"
        return super().fits(data)

    @property
    def discrete_states(self) -> int:
        return self.states

    # Reading a sequence

    def start(self, batch: int) -> State:
        """p(z_0)."""
        return (self.initial.double().expand(1, batch, -1),)

    @torch.no_grad()
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x_t -> log p(x_{t+1} | x_0 .. x_t) [T, B, V], or its mean [T, B, D], and the state after."""
        run = self._recursion(torch.float64)
        predicted = self._next(run.filter(x, state[0][0]).alpha)
        prediction = self.emission.predict(predicted)
        return prediction.to(x.dtype) if x.is_floating_point() else prediction, (predicted[-1:],)

    @torch.no_grad()
    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(x_0 .. x_{T-1}) of each stream, in nats: [T, B] or [T, B, D] from the start on -> [B]."""
        return torch.cat(
            [
                run.filter(x[:, part], self.initial.double()[None]).log_p().sum(0)
                for run, part in self._parts(x, torch.float64)
            ]
        )

    @torch.no_grad()
    def posterior(self, x: Tensor) -> Tensor:
        """p(z_t = j | x_0 .. x_{T-1}): [T, B] or [T, B, D] from the start on -> [T, B, N] (forward-backward)."""
        found = x.new_empty(*x.shape[:2], self.states, dtype=torch.float64)
        for run, part in self._parts(x, torch.float64):
            filtered = run.filter(x[:, part], self.initial.double()[None])
            for first, _, gamma in run.smooth(x[:, part], filtered, None):
                found[first : first + len(gamma), part] = gamma[..., : self.states]
        return found

    @torch.no_grad()
    def most_likely_states(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """argmax over z_0 .. z_{T-1} of p(z, x), and its log: [T, B] or [T, B, D] from the start on -> [T, B], [B]
        (Viterbi). Of equal paths, any."""
        log_transition = self.transition.double().log()
        emitted = self.emission.log_likelihood(x)
        best, came_from = self.initial.double().log() + emitted[0], []
        for t in range(1, len(x)):
            best, before = (best[..., None] + log_transition).max(dim=-2)
            best = best + emitted[t]
            came_from.append(before)
        log_p, last = best.max(-1)
        path = [last]
        for before in reversed(came_from):
            path.append(before.gather(-1, path[-1][:, None])[:, 0])
        return torch.stack(path[::-1]), log_p

    @torch.no_grad()
    def sample(self, state: State, length: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A draw of x_t, x_{t+1} .. [length, B] or [length, B, D],
        and of the states z [length, B], from a state before x_t."""
        z = [torch.multinomial(state[0][0], 1, generator=generator)[:, 0]]
        for _ in range(length - 1):
            z.append(torch.multinomial(self.transition[z[-1]], 1, generator=generator)[:, 0])
        return torch.stack([self.emission.draw(states, generator) for states in z]), torch.stack(z)

    # Learning

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        """Expected numbers: started [N], of streams that start in i;
        moved [N, N], of transitions from i to j; and the emission's."""
        counts = {"started": self.initial, "moved": self.transition}
        return {
            name: torch.zeros_like(like, dtype=torch.float64) for name, like in counts.items()
        } | self.emission.zero_statistics()

    @torch.no_grad()
    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        """E step over a window: forward from the carried state, backward from the window's end.

        A window's observations are its first input, which counts where streams start and else was the last target
        before, and its targets. So a pass counts every stream's start, transition and emission once. What follows a
        stream's last scored target is read and not counted. Exact where windows hold whole streams. A stream that goes
        on is smoothed without what follows the window: its last states lack what the future would tell of them.

        Returns the state before the last target, and -log p of the targets given all before them (Symbols), or the
        squared error of their predicted means (Reals; 0 in the first pass, which finds the series' units).
        """
        scored = self.emission.observed(batch.targets)
        x, counted = _observations(batch.inputs, batch.targets, scored)
        if isinstance(self.emission, Categorical) and x.is_cpu and hmm_compiled.takes(self.states, x.shape[1]):
            masks = None if counted is None else (counted, torch.cat([counted[:1], scored]))
            found = hmm_compiled.expected_counts(
                self.transition.double(),
                *self.emission.table(self.precision, self.states),
                x,
                masks,
                state[0][0],
                batch.carried,
                self.precision,
            )
            if not batch.carried:
                statistics["started"] += found.started
            statistics["moved"] += found.moved
            statistics["emitted"] += found.emitted
            return (self._next(found.after)[None],), -found.log_p
        after, loss = torch.empty_like(state[0]), torch.zeros((), dtype=torch.float64, device=scored.device)
        for run, part in self._parts(x, self.precision):
            x_SB, before = x[:, part].contiguous(), state[0][0, part]
            filtered = run.filter(x_SB, before)
            alpha = filtered.alpha
            after[0, part] = self._next(alpha[-2])
            if isinstance(self.emission, Categorical):
                loss -= (
                    filtered.total() if counted is None else filtered.log_p()[1:].where(scored[:, part], 0.0)
                ).sum()
            elif self.emission.placed:
                predicted = self.emission.predict(self._next(alpha[:-1]))
                loss += (
                    torch.where(scored[:, part, None], predicted - batch.targets[:, part].double(), 0.0).square().sum()
                )
            moved = torch.zeros(run.width, run.width, dtype=torch.float64, device=x.device)
            for first, weighted, gamma in run.smooth(x_SB, filtered, None if counted is None else counted[:, part]):
                if first == 0:
                    if not batch.carried:
                        statistics["started"] += gamma[0, :, : self.states].double().sum(0)
                    else:
                        gamma[0] = 0
                    weighted = weighted[1:]
                start = max(first, 1) - 1
                moved += alpha[start : start + len(weighted)].flatten(0, 1).t() @ weighted.flatten(0, 1)
                self.emission.count(statistics, x_SB[first : first + len(gamma)].flatten(0, 1), gamma.flatten(0, 1))
            statistics["moved"] += moved[: self.states, : self.states] * self.transition.double()
        return (after,), loss

    @torch.no_grad()
    def update(self, statistics: dict[str, Tensor]) -> None:
        """M step. Raises the likelihood of what was read (times the prior's density), or leaves it;
        Gaussians' first one places them instead."""
        if self.emission.placed:
            self.initial.copy_(proportions(statistics["started"], self.smoothing, self.initial))
            self.transition.copy_(proportions(statistics["moved"], self.smoothing, self.transition))
        self.emission.update(statistics, self.smoothing)

    # Between the model and its recursions

    def _recursion(self, dtype: torch.dtype) -> "Recursion":
        fast = 16 if dtype == torch.float32 else 12  # MKL multiplies rows of so many in half the time of rows of 10
        width = fast if 9 <= self.states < fast else self.states
        more = width - self.states
        return Recursion(
            F.pad(self.transition.double(), (0, more, 0, more)).to(dtype),
            self.emission.likelihood(dtype, width),
            self.room,
        )

    def _next(self, alpha: Tensor) -> Tensor:
        """p(z_{t+1} | x_0 .. x_t), float64: alpha_t [.., W] -> [.., N]."""
        known = alpha[..., : self.states].double()
        return known / known.sum(-1, keepdim=True) @ self.transition.double()

    def _parts(self, x: Tensor, dtype: torch.dtype) -> Iterator[tuple["Recursion", slice]]:
        """The recursion and the streams that it runs through side by side, part by part."""
        run, (length, streams) = self._recursion(dtype), x.shape[:2]
        parts = -(-streams // max(1, min(CACHE, MEMORY // length) // (run.width * dtype.itemsize)))
        for part in range(parts):
            yield run, slice(part * streams // parts, (part + 1) * streams // parts)


class Forward(NamedTuple):
    """What a stream's past tells of its states."""

    alpha: Tensor  # [S, B, W], p(z_t | x_0 .. x_t) up to a factor
    top: Tensor  # [S, B] float64, log of what b_t was divided by
    divisors: Tensor  # [S // SCALE, B, 1], what alpha was divided by at every SCALE-th step

    def log_p(self) -> Tensor:
        """log p(x_t | x_0 .. x_{t-1}) [S, B] float64."""
        logs = self.alpha.sum(-1).double().log()
        log_p = self.top + logs
        log_p[1:] -= logs[:-1]
        log_p[SCALE - 1 :: SCALE] += self.divisors[..., 0].double().log()
        return log_p

    def total(self) -> Tensor:
        """log p(x_1 .. x_{S-1} | x_0) [B] float64: the sum over log_p's rows but the first,
        without reading all of alpha."""
        first, last = self.alpha[0].sum(-1).double().log(), self.alpha[-1].sum(-1).double().log()
        return self.top[1:].sum(0) + self.divisors[..., 0].double().log().sum(0) + last - first


class Recursion:
    """alpha_t = (alpha_{t-1} A) * b_t,  beta_{t-1} = A (b_t * beta_t),  b_t(j) = p(x_t | z_t = j) over its largest;
    scaled at every SCALE-th t.

    transition  A [W, W], zeros in rows and columns beyond the N states
    likelihood  (x, b, log of what b was divided by, or None) -> fills them
    room        that alpha, beta and b are written to
    All entries of A among the N states are at least 1e-7, and the largest of b_t is 1: between two scalings alpha stays
    above 1e-28, and beta below 1e35, so that float32 holds both.
    """

    def __init__(self, transition: Tensor, likelihood: Likelihood, room: Room):
        self.forward, self.backward = transition.t().contiguous().t(), transition.t()  # as wide products like them
        self.likelihood, self.width, self.room = likelihood, len(transition), room

    def filter(self, x: Tensor, before_BN: Tensor) -> Forward:
        """Observations of S steps and p(z_0); the next call overwrites alpha."""
        length, streams = x.shape[:2]
        alpha = self._take("alpha", length, streams)
        top, divisors = (
            alpha.new_empty(length, streams, dtype=torch.float64),
            alpha.new_empty(length // SCALE, streams, 1),
        )
        steps, scales = alpha.unbind(0), divisors.unbind(0)
        steps[0].copy_(F.pad(before_BN, (0, self.width - before_BN.shape[-1])))
        for first, last in self._stretches(length, streams):
            likelihood = self._take("likelihood", last - first, streams)
            self.likelihood(x[first:last], likelihood, top[first:last])
            for t, b in enumerate(likelihood.unbind(0), first):
                if t > 0:
                    torch.mm(steps[t - 1], self.forward, out=steps[t])
                steps[t].mul_(b)
                if t % SCALE == SCALE - 1:
                    torch.sum(steps[t], -1, keepdim=True, out=scales[t // SCALE])
                    steps[t].div_(scales[t // SCALE])
        return Forward(alpha, top, divisors)

    def smooth(self, x: Tensor, filtered: Forward, counted: Tensor | None) -> Iterator[tuple[int, Tensor, Tensor]]:
        """What filter was given and gave -> stretches of time from the last to the first:
        (first t, w [C, B, W], gamma [C, B, W]).

        gamma_t = p(z_t | all x);  alpha_{t-1}(i) A(i, j) w_t(j) = p(z_{t-1} = i, z_t = j | all x).
        Observations that are not counted [S, B] (None: all are), the last ones of a stream, are left out of "all x",
        and have gamma and w 0. The next stretch overwrites w and gamma.
        """
        length, streams = x.shape[:2]
        alpha, _, divisors = filtered
        ending = {length - 1: alpha.new_ones(streams)}  # t -> 1 for streams that nothing counted follows
        if counted is not None:
            ending |= {t: (~counted[t + 1]).to(alpha.dtype) for t in (~counted[1:]).any(1).nonzero()[:, 0].tolist()}
        steps, carried = alpha.unbind(0), alpha.new_zeros(streams, self.width)
        for first, last in reversed(self._stretches(length, streams)):
            w = self._take("likelihood", last - first, streams)
            self.likelihood(x[first:last], w, None)
            if counted is not None:
                w *= counted[first:last, :, None]
            w[SCALE - 1 :: SCALE] /= divisors[first // SCALE : last // SCALE]
            beta = self._take("beta", last - first + 1, streams)  # of first - 1 .. last - 1
            rows, weighted = beta.unbind(0), w.unbind(0)
            rows[-1].copy_(carried)
            for k in reversed(range(last - first)):
                if first + k in ending:
                    rows[k + 1].add_((ending[first + k] / steps[first + k].sum(-1))[:, None])
                torch.mm(weighted[k].mul_(rows[k + 1]), self.backward, out=rows[k])
            gamma = beta[1:].mul_(alpha[first:last])
            torch.div(rows[0], gamma[0].sum(-1, keepdim=True), out=carried)  # by 1 but for rounding, which would add up
            if counted is not None:
                gamma *= counted[first:last, :, None]
            yield first, w, gamma

    def _stretches(self, length: int, streams: int) -> list[tuple[int, int]]:
        """First and last step, beyond it, of what is looked up and summed at once."""
        size = SCALE * min(STRETCH, max(1, CACHE // (streams * self.width * self.forward.itemsize)))
        return [(first, min(first + size, length)) for first in range(0, length, size)]

    def _take(self, name: str, length: int, streams: int) -> Tensor:
        return self.room.take(name, self.forward, length, streams, self.width)


def _observations(inputs: Tensor, targets: Tensor, scored: Tensor) -> tuple[Tensor, Tensor | None]:
    """A window's observations, [T + 1, B] or [T + 1, B, D]: inputs, and the targets that are scored [T, B] as the
    inputs after them; and whether each is the first of a stream's observations,
    a scored target, or before one [T + 1, B], None where all are."""
    if scored.all():
        return torch.cat([inputs[:1], targets]), None
    read = torch.cat([inputs[1:], targets[-1:]])
    after = scored.flip(0).cumsum(0).flip(0) > 0
    return torch.cat(
        [inputs[:1], torch.where(scored.view(scored.shape + (1,) * (inputs.ndim - 2)), targets, read)]
    ), torch.cat([after[:1], after])
