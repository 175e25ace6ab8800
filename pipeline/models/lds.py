"""Linear dynamical system with driving inputs, learned by expectation-maximization.

Inference and the sums of learning are NumPy's, on the CPU, where the parameters' memory is shared.
Shapes: T time, B streams, D observed, U driving, N states.
The windows of training have T targets, so T + 1 observations.
"""

import math
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.command.refusal import Refusal
from pipeline.command.setting import Positive
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import Data
from pipeline.datasets.space import Reals, Space
from pipeline.models.kalman import (
    Array,
    Beliefs,
    Filtered,
    Smoothed,
    System,
    kalman_filter,
    rts_smoother,
    times,
    weighted_sum,
)
from pipeline.models.model import StatisticsModel, reads_and_foretells


class LinearDynamicalSystem(StatisticsModel):
    """z_t = A z_{t-1} + B u_t + w_t,  y_t = C z_t + D u_t + d + v_t,  w ~ N(0, Q),  v ~ N(0, R),  z_0 ~ N(m0, P0)

    y_0 is a stream's first observation; the u_0 that would come with it is not seen and taken as 0.

    reads, answers  Reals(D + U, driving=U), Reals(D)
    states  N >= 1
    radius  in (0, 1): A starts as rotations by angles spread over (0, pi), times radius; Q so that the states' variance
            is 1, C with rows of norm 1 in random directions, R = 0.01: where the noise may explain the data from the
            start, EM can run into the saddle C = 0
    floor   > 0, in squared units of the data: Q, R and P0 keep eigenvalues of at least that

    Learned by EM (Shumway & Stoffer 1982; Ghahramani & Hinton 1996, with driving inputs, m0 and P0 from all streams).
    With the floors the likelihood is bounded, S = C P C^T + R is never singular, and a constant signal ends as d = its
    value, R = floor. What the data do not determine (a state that is never excited, a driving input that never moves)
    gets the coefficients of least norm. One stream alone cannot tell P0: it shrinks to the floor, and m0 is where that
    stream began. Missing values are NaN; each entry of y may be missing.

    State: mean [1, B, N] and covariance [1, B, N, N] of z_t given y_0 .. y_{t-1}, and u_t [1, B, U].
    All numbers are float64.
    """

    learned_by = ("em",)

    def __init__(
        self,
        reads: Reals,
        answers: Reals,
        given: tuple[Space, ...],
        states: Annotated[int, Ge(1), Le(2_000)],
        radius: Annotated[float, Gt(0), Lt(1)],
        floor: Positive,
    ):
        super().__init__(reads, answers, given)
        self.observed, self.driving, self.states, self.floor = answers.width, reads.driving, states, floor
        double = {"dtype": torch.float64}
        initial = {
            "A": radius * _rotations(states),
            "B": torch.randn(states, self.driving, **double) / math.sqrt(max(1, self.driving)),
            "C": nn.functional.normalize(torch.randn(self.observed, states, **double)),
            "D": torch.zeros(self.observed, self.driving, **double),
            "d": torch.zeros(self.observed, **double),
            "Q": max(1 - radius**2, floor) * torch.eye(states, **double),
            "R": max(0.01, floor) * torch.eye(self.observed, **double),
            "m0": torch.zeros(states, **double),
            "P0": max(1.0, floor) * torch.eye(states, **double),
        }
        for name, value in initial.items():
            self.register_parameter(name, nn.Parameter(value, requires_grad=False))

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if not reads_and_foretells(data, Reals):
            return "predicts real-valued series, not other sequences: take data=sine, mackey_glass or sunspots"
        return super().fits(data)

    @property
    def system(self) -> System:
        return System(*_arrays(self.A, self.B, self.C, self.D, self.d, self.Q, self.R))

    # Reading a sequence

    def start(self, batch: int) -> State:
        """m0, P0 and u_0 = 0."""
        return (
            self.m0.expand(1, batch, -1),
            self.P0.expand(1, batch, -1, -1),
            self.m0.new_zeros(1, batch, self.driving),
        )

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x_t = [y_t, u_{t+1}] [T, B, D + U] -> E[y_{t+1} | y_0 .. y_t, u_1 .. u_{t+1}] [T, B, D]
        and the state after."""
        read, before = _arrays(x, state[2])
        y, u = read[..., : self.observed], read[..., self.observed :]
        system, filtered = self.system, self._filter(y, np.concatenate([before, u[:-1]]), state)
        means = times(filtered.updated.means, system.A) + times(u, system.B)
        prediction = self._tensor(times(means, system.C) + times(u, system.D) + system.d)
        return prediction.to(x.dtype), self._state(
            means[-1], system.predict(filtered.updated.table[filtered.updated.row[-1]]), u[-1]
        )

    def negative_log_likelihood(self, inputs: Tensor, targets: Tensor, state: State) -> tuple[Tensor, State]:
        """-log p(y_{t+1} | y_0 .. y_t, u_1 .. u_{t+1}) in nats, of targets y_{t+1} [T, B, D] that follow inputs as in
        forward -> [T, B], 0 where all of y_{t+1} is missing, and the state after the inputs."""
        y, u = self._observations(inputs, targets, state)
        filtered = self._filter(y, u, state)
        return self._tensor(-filtered.log_likelihood[1:]), self._last(filtered, u)

    def log_likelihood(self, y: Tensor, u: Tensor | None = None) -> Tensor:
        """log p(y_0 .. y_{T-1} | u) of each stream, nats: y [T, B, D], u [T, B, U] or None (U = 0) -> [B]."""
        return self._tensor(self.filter(y, u).log_likelihood.sum(0))

    def filter(self, y: Tensor, u: Tensor | None = None) -> Filtered:
        """What is known of each state from the observations up to it, in NumPy: y [T, B, D] from a stream's start on, u
        [T, B, U] or None (U = 0)."""
        return self._filter(*_arrays(y), self._driving(u, *y.shape[:2]), self.start(y.shape[1]))

    def smooth(self, y: Tensor, u: Tensor | None = None) -> Smoothed:
        """What is known of each state, and of each two in a row, from all observations, as filter."""
        return rts_smoother(self.system, self.filter(y, u))

    def forecast(self, state: State, steps: int, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y_{t+k} ~ N(mean_k, covariance_k) for k = 0 .. steps-1 and a state before y_t
        -> [steps, B, D], [steps, B, D, D].

        u [steps - 1, B, U], the driving inputs after the one that the state holds, or None (U = 0).
        """
        system, (z, P, known) = self.system, _arrays(*(part[0] for part in state))
        u = np.concatenate([known[None], self._driving(u, steps - 1, len(z))])
        means, covariances = [], []
        for k in range(steps):
            if k > 0:
                z, P = z @ system.A.T + u[k] @ system.B.T, system.predict(P)
            means.append(z @ system.C.T + u[k] @ system.D.T + system.d)
            covariances.append(system.C @ P @ system.C.T + system.R)
        return self._tensor(np.stack(means)), self._tensor(np.stack(covariances))

    def sample(self, state: State, steps: int, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A draw of z_t, z_{t+1} .. [steps, B, N] and y_t, y_{t+1} .. [steps, B, D] from a state before y_t, u as in
        forecast; torch's generator."""
        system, (mean, P, known) = self.system, _arrays(*(part[0] for part in state))
        u = np.concatenate([known[None], self._driving(u, steps - 1, len(mean))])
        w, v = (
            torch.randn(steps, len(mean), width, dtype=torch.float64).numpy() for width in (self.states, self.observed)
        )
        z = w @ _root(system.Q).T + u @ system.B.T
        z[0] = mean + (_root(P) @ w[0, :, :, None])[..., 0]
        for k in range(1, steps):
            z[k] += z[k - 1] @ system.A.T
        return self._tensor(z), self._tensor(z @ system.C.T + u @ system.D.T + system.d + v @ _root(system.R).T)

    # Learning

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        """Sums of E[v v^T | window]: over streams that start, v = [z_0, 1]; over transitions, v = [z_t, z_{t-1}, u_t,
        1]; over observations, v = [y_t, z_t, u_t, 1]. The last entry of each is their number."""
        sizes = {
            "starts": self.states + 1,
            "transitions": 2 * self.states + self.driving + 1,
            "observations": self.observed + self.states + self.driving + 1,
        }
        return {name: torch.zeros(size, size, dtype=torch.float64) for name, size in sizes.items()}

    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        """E step over a window: filter from the carried state, smooth back to the window's first input. Adds the sums;
        returns the state after it and the sum of squared one-step errors.

        Exact EM where windows hold whole streams: then the likelihood never falls. Else an approximation: filtering
        goes on over the windows as if there were none, but smoothing at a window's end lacks what the next one would
        tell, as many steps' worth as the filter remembers. Steps after
        the last observation of a stream in the window are not counted.
        """
        y, u = self._observations(batch.inputs, batch.targets, state)
        filtered = self._filter(y, u, state)
        (z, P, row), lagged = rts_smoother(self.system, filtered)
        N, one = self.states, np.ones((*y.shape[:2], 1))
        observed = np.ones(y.shape[:2]) if filtered.missing is None else (~filtered.missing).any(-1).astype(np.float64)
        counted = np.maximum.accumulate(observed[::-1])[::-1]  # 1 up to the last observation
        starts, moves = (
            _products([z[:1], one[:1]], counted[:1]),
            _products([z[1:], z[:-1], u[1:], one[1:]], counted[1:]),
        )
        starts[:N, :N] += weighted_sum(P, row[:1], counted[:1])
        crossed = weighted_sum(lagged, row[:-1], counted[1:])
        moves[:N, :N] += weighted_sum(P, row[1:], counted[1:])
        moves[N : 2 * N, N : 2 * N] += weighted_sum(P, row[:-1], counted[1:])
        moves[:N, N : 2 * N] += crossed
        moves[N : 2 * N, :N] += crossed.T
        if not batch.carried:
            statistics["starts"] += self._tensor(starts)
        else:
            observed[0] = 0  # it was the last target of the window before
        statistics["transitions"] += self._tensor(moves)
        statistics["observations"] += self._tensor(
            self._emissions(y, filtered.missing, u, Beliefs(z, P, row), observed)
        )
        return self._last(filtered, u), self._tensor(np.square(filtered.errors[1:]).sum())

    def _emissions(self, y: Array, missing: Array | None, u: Array, beliefs: Beliefs, weights: Array) -> Array:
        """sum of weights E[v v^T], v = [y_t, z_t, u_t, 1]."""
        D, to = self.observed, self.observed + self.states
        if missing is not None:
            y, covariance, crossed = self._fill_in(y, missing, u, beliefs, weights)
        total = _products([y, beliefs.means, u, np.ones((*y.shape[:2], 1))], weights)
        total[D:to, D:to] += weighted_sum(beliefs.table, beliefs.row, weights)
        if missing is not None:
            total[:D, :D] += covariance
            total[:D, D:to] += crossed
            total[D:to, :D] += crossed.T
        return total

    def _fill_in(
        self, y: Array, missing: Array, u: Array, beliefs: Beliefs, weights: Array
    ) -> tuple[Array, Array, Array]:
        """E[y_t] where weights are 1, and the sums of Cov(y_t) and Cov(y_t, z_t): missing entries m are latent like
        z_t. With observed entries o, y_m = p_m + G (y_o - p_o) + e,
        p = C z_t + D u_t + d, G = R_mo R_oo^-1, e ~ N(0, R_mm - G R_om)."""
        _, _, C, D, d, _, R = self.system
        t, b = ((weights > 0) & missing.any(-1)).nonzero()
        m = missing[t, b]  # [n, D], n partly missing observations
        R_oo = np.where(m[:, :, None] | m[:, None], np.eye(len(R)), R)
        G = np.linalg.solve(R_oo, np.where(~m[:, :, None] & m[:, None], R, 0.0)).mT
        filled, p = np.where(missing, 0.0, y), beliefs.means[t, b] @ C.T + u[t, b] @ D.T + d
        filled[t, b] = np.where(m, p + (G @ np.where(m, 0.0, filled[t, b] - p)[..., None])[..., 0], filled[t, b])
        slope = np.where(m[:, :, None], C, 0.0) - G @ C  # [n, D, N], of y_m in z
        crossed = slope @ beliefs.table[beliefs.row[t], b if beliefs.table.shape[1] > 1 else 0]
        noise = np.where(m[:, :, None] & m[:, None], R - G @ R, 0.0)
        return filled, (crossed @ slope.mT + noise).sum(0), crossed.sum(0)

    def update(self, statistics: dict[str, Tensor]) -> None:
        """M step: the parameters of the highest expected likelihood that keep to the floor (Ghahramani & Hinton 1996,
        "The M step"). Parameters on which nothing was observed stay."""
        N, (starts, transitions, observations) = (
            self.states,
            _arrays(*(statistics[name] for name in ("starts", "transitions", "observations"))),
        )
        if starts[-1, -1] > 0:
            mean, P0 = _regression(starts / starts[-1, -1], N, self.floor)
            self._set(m0=mean[:, 0], P0=P0)
        if transitions[-1, -1] > 0:
            AB, Q = _regression(transitions[:-1, :-1] / transitions[-1, -1], N, self.floor)
            self._set(A=AB[:, :N], B=AB[:, N:], Q=Q)
        if observations[-1, -1] > 0:
            W, R = _regression(observations / observations[-1, -1], self.observed, self.floor)
            self._set(C=W[:, :N], D=W[:, N:-1], d=W[:, -1], R=R)

    @torch.no_grad()
    def _set(self, **parameters: Array) -> None:
        for name, value in parameters.items():
            getattr(self, name).copy_(torch.from_numpy(value))

    # Between the protocol and the filter

    def _filter(self, y: Array, u: Array, state: State) -> Filtered:
        mean, P = _arrays(state[0][0], state[1][0])
        return kalman_filter(self.system, y, u, mean, P[:1] if (P == P[:1]).all() else P)

    def _observations(self, inputs: Tensor, targets: Tensor, state: State) -> tuple[Array, Array]:
        """The window's first input and all its targets, [T + 1, B, D], and what drives them, [T + 1, B, U]."""
        x, asked, before = _arrays(inputs, targets, state[2])
        return np.concatenate([x[:1, :, : self.observed], asked]), np.concatenate([before, x[..., self.observed :]])

    def _last(self, filtered: Filtered, u: Array) -> State:
        """The state before the last observation, which the next window reads first."""
        means, table, row = filtered.predicted
        return self._state(means[-1], table[row[-1]], u[-1])

    def _state(self, mean: Array, P: Array, u: Array) -> State:
        return self._tensor(mean[None]), self._tensor(P[None]).expand(1, len(mean), -1, -1), self._tensor(u[None])

    def _tensor(self, array: Array) -> Tensor:
        return torch.tensor(array, dtype=torch.float64, device=self.A.device)

    def _driving(self, u: Tensor | None, steps: int, streams: int) -> Array:
        if u is None and self.driving:
            raise Refusal(
                f"linear dynamical system: it is driven by {self.driving} inputs, none were given: give u "
                f"[{steps}, {streams}, {self.driving}]"
            )
        return np.zeros((steps, streams, 0)) if u is None else _arrays(u)[0]


def _rotations(states: int) -> Tensor:
    """An orthogonal matrix of plane rotations, one angle in each of states // 2 equal parts of (0, pi);
    an odd state stands still."""
    planes = states // 2
    angles = math.pi * (torch.arange(planes) + torch.rand(planes, dtype=torch.float64)) / max(1, planes)
    rotations = [
        torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
        for angle in angles
    ]
    return torch.block_diag(*rotations, *[torch.ones(1, 1, dtype=torch.float64)] * (states % 2))


def _arrays(*parts: Tensor) -> list[Array]:
    """In float64. A GPU is waited for once."""
    together = torch.cat([part.detach().double().flatten() for part in parts]).cpu().numpy()
    cuts = np.cumsum([part.numel() for part in parts])[:-1]
    return [one.reshape(part.shape) for one, part in zip(np.split(together, cuts), parts)]


def _products(parts: list[Array], weights: Array) -> Array:
    """sum over t and streams of weights v v^T, v = [part, part ..]: [T, B, ..] each, [T, B] -> [C, C]."""
    parts, weights = [part.reshape(weights.size, part.shape[-1]) for part in parts], weights.reshape(-1, 1)
    weighted = parts if (weights == 1).all() else [weights * part for part in parts]
    above = [[left.T @ right for right in parts[k:]] for k, left in enumerate(weighted)]  # from the diagonal on
    return np.block([[above[j][k - j].T for j in range(k)] + above[k] for k in range(len(parts))])


def _regression(moments: Array, size: int, floor: float) -> tuple[Array, Array]:
    """y = W x + e from the mean of [y, x] [y, x]^T, y of this size: the W that minimizes E|e|^2, of them the least in
    units of each x's spread, and E[e e^T] with eigenvalues raised to the floor,
    the likeliest of all covariances above it."""
    yy, yx, xx = moments[:size, :size], moments[:size, size:], moments[size:, size:]
    spread = np.sqrt(np.diagonal(xx))
    spread = np.where(spread > 0, spread, 1.0)
    W = yx / spread @ np.linalg.pinv(xx / np.outer(spread, spread), hermitian=True, rtol=1e-12) / spread
    explained = W @ yx.T
    scatter = yy - explained - explained.T + W @ xx @ W.T
    values, vectors = np.linalg.eigh((scatter + scatter.T) / 2)
    scatter = (vectors * values.clip(min=floor)) @ vectors.T
    return W, (scatter + scatter.T) / 2


def _root(P: Array) -> Array:
    """X with X X^T = P, singular or not."""
    values, vectors = np.linalg.eigh(P)
    return vectors * np.sqrt(values.clip(min=0))[..., None, :]
