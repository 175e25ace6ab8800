"""Kalman filter and Rauch-Tung-Striebel smoother of a linear Gaussian system, for many streams at once; NumPy, float64.

z_t = A z_{t-1} + B u_t + w_t,  y_t = C z_t + D u_t + d + v_t,  w_t ~ N(0, Q),  v_t ~ N(0, R),  z_0 ~ N(m, P)

z_0 is the state of the first observation y_0, so u_0 enters y_0 alone (Ghahramani & Hinton 1996, whose first step is 1;
the z_0 of Shumway & Stoffer 1982 comes a step earlier). NaN in y is a missing value; any entries of y_t may be missing.

Covariances depend on what is missing and not on the values. So they come first, as a table of the distinct ones and the
row of that table for each step: streams with the same values missing share one, and once a step changes it by no more
than CONVERGED, it holds until the next missing value (the Riccati recursion converges geometrically: Anderson & Moore
1979, Optimal Filtering, chapter 4). Means then follow linear recurrences, h_t = F h_{t-1} + g_t, which are evaluated in
blocks where F is constant. Where values are missing again and again, every step has its own covariance, and compiled
code goes step by step (kalman_compiled). Where there is none, or a covariance is singular, time is marched through in
many places at once (_march).

Shapes: T time, B streams, D observed, U driving, N states, M rows of a table,
b = 1 where the streams share a covariance, else B.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.models import kalman_compiled

CONVERGED = 1e-13  # of sqrt(P_ii P_jj), for the change of P_ij in a step
BLOCK = 6  # steps of a recurrence that are one product
LONG = 16  # steps from which constant gains are worth a block
FEW = 8  # steps with missing values up to which it pays to converge anew after each
SMALL = 256  # states and observed values up to which compiled steps beat products by BLAS
PLACES, STRIDE = 512, 64  # matrices that are worth one product together; least steps that a place in time marches
SWEEPS = 8  # marches from everywhere before going one by one

Array = np.ndarray


class System(NamedTuple):
    """The matrices of the equations above."""

    A: Array  # [N, N]
    B: Array  # [N, U]
    C: Array  # [D, N]
    D: Array  # [D, U]
    d: Array  # [D]
    Q: Array  # [N, N], positive semidefinite
    R: Array  # [D, D], positive semidefinite, C P C^T + R positive definite

    def predict(self, P: Array) -> Array:
        """A P A^T + Q, symmetric to the last bit."""
        return _symmetric(self.A @ P @ self.A.T + self.Q)

    def update(self, P: Array, missing: Array | None) -> tuple[Array, Array, Array]:
        """S = C P C^T + R, K = P C^T S^-1 and (I - K C) P (I - K C)^T + K R K^T for P [.., N, N];
        missing [.., D], or None: nothing."""
        C, R = self.C, self.R
        if missing is not None:  # an entry that is missing observes nothing, with noise 1 that no other entry shares
            C = np.where(missing[..., None], 0.0, C)
            R = np.where(missing[..., None] | missing[..., None, :], np.eye(len(R)), R)
        crossed = P @ C.mT
        S = C @ crossed + R
        try:
            K = np.linalg.solve(S, crossed.mT).mT
        except np.linalg.LinAlgError:
            raise _singular() from None
        rest = np.eye(len(self.A)) - K @ C
        return S, K, _symmetric(rest @ P @ rest.mT + K @ R @ K.mT)


class Beliefs(NamedTuple):
    """z_t ~ N(means[t], table[row[t]]) for each step."""

    means: Array  # [T, B, N]
    table: Array  # [M, b, N, N]
    row: Array  # [T] int64

    @property
    def covariances(self) -> Array:
        """Those of all steps, [T, b, N, N]."""
        return self.table[self.row]


class Filtered(NamedTuple):
    predicted: Beliefs  # z_t given y_0 .. y_{t-1}
    updated: Beliefs  # z_t given y_0 .. y_t, in the same rows
    errors: Array  # [T, B, D], y_t less its prediction; 0 where y_t is missing
    log_likelihood: Array  # [T, B], log p(y_t | y_0 .. y_{t-1}) in nats; 0 where all of y_t is missing
    missing: Array | None  # [T, B, D], or None: nothing


class Smoothed(NamedTuple):
    beliefs: Beliefs  # z_t given all of y
    lagged: Array  # [M, b, N, N], Cov(z_{t+1}, z_t) given all of y, in the rows of the beliefs; 0 for the last step


def kalman_filter(system: System, y: Array, u: Array, mean: Array, covariance: Array) -> Filtered:
    """S = C P C^T + R, K = P C^T S^-1; m <- m + K e, P <- (I - K C) P (I - K C)^T + K R K^T (Joseph's form);
    then m <- A m + B u, P <- A P A^T + Q.

    y [T, B, D], u [T, B, U], T >= 1; mean [B, N] and covariance [b, N, N] of z_0. A missing entry is an observation of
    nothing: its row of C is 0. Raises Refusal where S is singular, u is NaN or anything is infinite. (Kalman 1960;
    Joseph's form: Bucy & Joseph 1968.)
    """
    if not np.isfinite(u).all():
        raise Refusal(
            "linear dynamical system: a driving input is NaN or infinite; only observations may be missing: fill it in"
        )
    if np.isinf(y).any():
        raise Refusal("linear dynamical system: an observation is infinite: make it NaN where it is missing")
    missing, patterns = np.isnan(y), None
    if missing.any():
        patterns = missing[:, :1] if (missing == missing[:, :1]).all() else missing
    missing = None if patterns is None else missing
    net = y - (system.d + times(u, system.D) if u.shape[-1] else system.d)  # C z_t and noise
    net = net if missing is None else np.where(missing, 0.0, net)
    drive = times(u[1:], system.B) if u.shape[-1] else None
    if patterns is not None and patterns.any((1, 2)).sum() > FEW and _is_compiled(system):
        steps = kalman_compiled.filter_steps(_matrices(system), patterns, net, drive, mean, covariance)
        if steps is not None:
            row = np.arange(len(y))
            predicted, updated = (
                Beliefs(steps["predicted"], steps["P"], row),
                Beliefs(steps["updated"], steps["updated_P"], row),
            )
            return Filtered(predicted, updated, steps["errors"], steps["log_likelihood"], missing)
    row, P, S, K, updated = _covariances(system, len(y), patterns, covariance)
    try:
        root = np.linalg.cholesky(S)
    except np.linalg.LinAlgError:
        raise _singular() from None
    steered = system.A @ K
    forcing = _apply(steered, row[:-1], net[:-1])
    if drive is not None:
        forcing += drive
    predicted = _recur(system.A - steered @ system.C, row[:-1], forcing, mean)
    errors = times(predicted, system.C)
    np.subtract(net, errors, out=errors)
    errors = errors if missing is None else np.where(missing, 0.0, errors)
    means = _apply(K, row, errors)
    means += predicted
    log_likelihood = _log_likelihood(root, row, errors, missing)
    return Filtered(Beliefs(predicted, P, row), Beliefs(means, updated, row), errors, log_likelihood, missing)


def rts_smoother(system: System, filtered: Filtered) -> Smoothed:
    """J = P_t A^T (A P_t A^T + Q)^-1; m_t <- m_t + J (m_{t+1} - A m_t - B u_{t+1}),
    P_t <- (I - J A) P_t (I - J A)^T + J (P_{t+1} + Q) J^T.

    A singular A P A^T + Q is inverted on its range. Cov(z_{t+1}, z_t) = P_{t+1} J^T. (Rauch, Tung & Striebel 1965; in
    Joseph's form, all terms are positive semidefinite.)
    """
    means, P, row = filtered.updated
    if len(P) == len(row) and _is_compiled(system):  # no step shares its covariance with another
        before = filtered.predicted
        steps = kalman_compiled.smooth_steps(_matrices(system), before.means, means, before.table, P)
        if steps is not None:
            return Smoothed(Beliefs(steps["means"], steps["smoothed_P"], row), steps["lagged"])
    J = _divide(P @ system.A.T, system.predict(P))
    rest = np.eye(len(system.A)) - J @ system.A
    backward = row[:-1][::-1]
    own, table, gains = _smoothed_covariances(J, rest @ P @ rest.mT + J @ system.Q @ J.mT, P[row[-1]], backward)
    lagged = np.concatenate([np.zeros_like(table[:1]), table[:-1] @ J[gains].mT])
    forcing = _apply(J, row[:-1], filtered.predicted.means[1:])
    np.subtract(means[:-1], forcing, out=forcing)
    return Smoothed(Beliefs(_recur(J, row[:-1], forcing, means[-1], backward=True), table, own[::-1].copy()), lagged)


def times(x: Array, matrix: Array) -> Array:
    """matrix x for each step and stream, in one product: [T, B, C], [R, C] -> [T, B, R]."""
    return (x.reshape(x.shape[0] * x.shape[1], x.shape[2]) @ matrix.T).reshape(*x.shape[:2], len(matrix))


def weighted_sum(table: Array, row: Array, weights: Array) -> Array:
    """sum over t and streams of weights[t, stream] table[row[t]], [T, B] -> [N, N]."""
    weights = weights.sum(1, keepdims=True) if table.shape[1] == 1 else weights
    of_rows = np.stack([np.bincount(row, of_stream, len(table)) for of_stream in weights.T], axis=1)
    return np.tensordot(of_rows, table, 2)


# Step by step


def _is_compiled(system: System) -> bool:
    """Whether compiled code is there, and faster than BLAS."""
    return len(system.A) <= SMALL and len(system.C) <= SMALL and kalman_compiled.library() is not None


def _matrices(system: System) -> tuple[Array, ...]:
    return system.A, system.C, system.Q, system.R


# Covariances


def _singular() -> Refusal:
    return Refusal(
        "linear dynamical system: the covariance C P C^T + R of an observation is singular: give R a greater "
        "diagonal, or a model to be learned a greater model.floor"
    )


def _symmetric(P: Array) -> Array:
    return (P + P.mT) / 2


def _close(P: Array, other: Array) -> bool:
    """Whether covariances are equal up to CONVERGED, each entry by the scale of its two states."""
    change = np.abs(P - other)
    if change.max() > CONVERGED * other.max():  # the largest entry is a variance: the rest can be spared
        return False
    deviations = np.sqrt(np.diagonal(other, axis1=-2, axis2=-1).clip(min=0))
    return bool((change <= CONVERGED * deviations[..., None] * deviations[..., None, :]).all())


def _divide(numerator: Array, P: Array) -> Array:
    """numerator P^-1 for symmetric P; where P is singular, numerator P^+."""
    try:
        np.linalg.cholesky(P)
    except np.linalg.LinAlgError:
        return numerator @ np.linalg.pinv(P, hermitian=True)
    return np.linalg.solve(P, numerator.mT).mT


def _covariances(system: System, steps: int, missing: Array | None, P: Array) -> tuple[Array, ...]:
    """The row of each step [T], and by rows: predicted covariance, S, K, updated covariance, each [M, b, ..]; missing
    [T, 1 or b, D], or None: nothing."""
    gaps = [] if missing is None else missing.any((1, 2)).nonzero()[0].tolist()
    if len(gaps) > FEW:
        P = np.broadcast_to(P, (max(len(P), missing.shape[1]), *P.shape[1:]))
        P = _march(lambda t, P: system.predict(system.update(P, missing[t])[2]), P, steps - 1, _close)
        return np.arange(steps), P, *system.update(P, missing)
    rows, held, t = [], [], 0
    gaps.append(steps)
    while t < steps:
        gap = t == gaps[0]
        if gap:
            gaps.pop(0)
        rows.append((P, *system.update(P, missing[t] if gap else None)))
        after = system.predict(rows[-1][-1])
        if not gap and _close(after, P):
            held.append(gaps[0] - t)
        else:
            held.append(1)
            P = after
        t += held[-1]
        if len(P) > 1 and _close(P, P[:1]):
            P = P[:1]
    widths = {len(part) for parts in rows for part in parts}
    if len(widths) > 1:  # streams that share some rows and not all
        rows = [[np.broadcast_to(part, (max(widths), *part.shape[1:])) for part in parts] for parts in rows]
    return np.repeat(np.arange(len(held)), held), *(np.stack(column) for column in zip(*rows))


def _smoothed_covariances(J: Array, base: Array, last: Array, backward: Array) -> tuple[Array, Array, Array]:
    """P_t = base + J P_{t+1} J^T from the last step back, in the rows `backward` of J and base: the rows of a new table
    in that order [T], the table, and the row of J that gave each of its rows but the first."""

    def step(row, P):
        return _symmetric(base[row] + J[row] @ P @ J[row].mT)

    starts = _changes(backward)
    if len(starts) == len(backward):
        return (
            np.arange(len(backward) + 1),
            _march(lambda t, P: step(backward[t], P), last, len(backward), _close),
            backward,
        )
    table, gains, held = [last], [], [1]
    for row, left in zip(backward[starts].tolist(), np.diff(starts, append=len(backward)).tolist()):
        while left > 0:
            table.append(step(row, table[-1]))
            gains.append(row)
            held.append(left if _close(table[-1], table[-2]) else 1)
            left -= held[-1]
    return np.repeat(np.arange(len(held)), held), np.stack(table), np.array(gains)


def _log_likelihood(root: Array, row: Array, errors: Array, missing: Array | None) -> Array:
    """log N(errors[t]; 0, S), with S = root root^T in row[t]: root [M, b, D, D], 1 on the diagonal where y_t is
    missing."""
    ones = np.ones(errors.shape[-1])
    seen = len(ones) if missing is None else (~missing).sum(-1)
    squares = np.square(_apply(np.linalg.solve(root, np.diag(ones)), row, errors)) @ ones
    return -0.5 * (squares + math.log(2 * math.pi) * seen) - np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(-1)[row]


# Recurrences


def _march(step: Callable, start: Array, steps: int, close: Callable) -> Array:
    """x_0 = start, x_{t+1} = step(t, x_t): [b, ...] -> [steps + 1, b, ...];
    step maps times [K] and their x [K, b, ...].

    A long way is marched in K places at once, each from where the sweep before left it, until no beginning moves: what
    is computed forgets where it began, so two or three sweeps usually do. K sweeps would do for certain; after SWEEPS
    of them it goes step by step.
    """
    places = max(1, min(steps // STRIDE, PLACES // len(start)))
    return _sweeps(step, start, steps, close, places)


def _sweeps(step: Callable, start: Array, steps: int, close: Callable, places: int) -> Array:
    stride = -(-steps // places)
    clocks = np.arange(places * stride).clip(max=steps - 1).reshape(places, stride)  # what is past the end is cut off
    path = np.empty((places, stride + 1, *start.shape))  # each place ends where the next begins
    path[:, 0] = start
    for _ in range(SWEEPS):
        for k in range(stride):
            path[:, k + 1] = step(clocks[:, k], path[:, k])
        left = np.concatenate([start[None], path[:-1, -1]])
        if places == 1 or close(left, path[:, 0]):
            return np.concatenate([path[:, :-1].reshape(-1, *start.shape), path[-1:, -1]])[: steps + 1]
        path[:, 0] = left
    return _sweeps(step, start, steps, close, 1)


def _settled(h: Array, other: Array) -> bool:
    """Whether means are equal up to CONVERGED of each one's largest: [K, B, N]."""
    return bool((np.abs(h - other) <= CONVERGED * np.abs(h).max(0)).all())


def _changes(row: Array) -> Array:
    """Where a row other than the one before begins, 0 included."""
    return np.concatenate([np.zeros(min(1, len(row)), dtype=np.int64), np.flatnonzero(row[1:] != row[:-1]) + 1])


def _segments(row: Array) -> Iterator[tuple[int, int, bool]]:
    """(start, stop, constant): steps that share one row, where they are LONG or more, and the stretches between."""
    varying, starts = 0, _changes(row)
    lengths = np.diff(starts, append=len(row))
    for start, length in zip(starts[lengths >= LONG].tolist(), lengths[lengths >= LONG].tolist()):
        if varying < start:
            yield varying, start, False
        yield start, start + length, True
        varying = start + length
    if varying < len(row):
        yield varying, len(row), False


def _apply(table: Array, row: Array, x: Array) -> Array:
    """table[row[t]] x_t: [M, b, R, C], [T], [T, B, C] -> [T, B, R]."""
    out = np.empty((*x.shape[:2], table.shape[2]))
    for start, stop, constant in _segments(row):
        here, to = x[start:stop], out[start:stop]
        if table.shape[1] == 1 and constant:
            np.matmul(here.reshape(-1, x.shape[2]), table[row[start], 0].T, out=to.reshape(-1, out.shape[2]))
        elif table.shape[1] == 1:
            np.matmul(here, table[row[start:stop], 0].mT, out=to)
        elif constant:
            np.matmul(here.swapaxes(0, 1), table[row[start]].mT, out=to.swapaxes(0, 1))
        else:
            np.matmul(table[row[start:stop]], here[..., None], out=to[..., None])
    return out


def _recur(table: Array, row: Array, g: Array, start: Array, backward: bool = False) -> Array:
    """h_0 = start, h_{t+1} = table[row[t]] h_t + g_t, or backward h_T = start, h_t = table[row[t]] h_{t+1} + g_t:
    [M, b, N, N], [T], [T, B, N], [B, N] -> [T + 1, B, N]. Uses g up."""
    g = np.ascontiguousarray(g.swapaxes(0, 1))  # stream by stream
    h = np.empty((g.shape[0], g.shape[1] + 1, g.shape[2]))
    way, now = (-1, g.shape[1]) if backward else (1, 0)
    h[:, now] = start
    for first, stop, constant in list(_segments(row))[::way]:
        to = h[:, first:stop] if backward else h[:, first + 1 : stop + 1]
        if constant:
            _blocks(table[row[first]], g[:, first:stop], h[:, now], to, backward)
        else:
            F, forcing = table[row[first:stop][::way]], g[:, first:stop][:, ::way].swapaxes(0, 1)
            path = _march(
                lambda t, h, F=F, forcing=forcing: forcing[t] + (F[t] @ h[..., None])[..., 0],
                h[:, now],
                stop - first,
                _settled,
            )
            to[:, ::way] = path[1:].swapaxes(0, 1)
        now = first if backward else stop
    return h.swapaxes(0, 1)


def _blocks(F: Array, g: Array, start: Array, h: Array, backward: bool) -> None:
    """h_t = F h_{t-1} + g_t from h_{-1} = start, or backward h_t = F h_{t+1} + g_t from h_T:
    [b, N, N], [B, T, N], [B, N] -> h [B, T, N].

    Blocks of c steps are one product with the triangle of F's powers. What the blocks begin with is such a recurrence
    again, by F^c, over what each would end with from 0. O(T c N^2) in log T / log c products; uses g up.
    """
    streams, steps, width = g.shape
    c = min(steps, BLOCK)
    blocks, left = divmod(steps, c)
    body, tail = (
        (slice(left, steps), range(left - 1, -1, -1))
        if backward
        else (slice(0, steps - left), range(steps - left, steps))
    )
    order = range(c)[::-1] if backward else range(c)  # places in a block as they come
    powers = [np.broadcast_to(np.eye(width), F.shape)]
    for _ in range(c):
        powers.append(F @ powers[-1])
    triangle = np.zeros((len(F), c, width, c, width))  # from each step's g to each later step's h
    for k in range(c):
        for later in range(k, c):
            triangle[:, order[k], :, order[later]] = powers[later - k].mT
    to_end = triangle[..., order[-1], :].reshape(len(F), c * width, width)
    parts = g[:, body].reshape(streams, blocks, c * width)  # views, as is what h is written to
    begins = np.empty((streams, blocks, width))
    begins[:, -1 if backward else 0] = start
    if blocks > 1:
        ends = parts @ to_end
        _blocks(
            powers[c],
            *((ends[:, 1:], start, begins[:, :-1]) if backward else (ends[:, :-1], start, begins[:, 1:])),
            backward,
        )
    parts[:, :, order[0] * width : (order[0] + 1) * width] += begins @ F.mT
    np.matmul(parts, triangle.reshape(len(F), c * width, c * width), out=h[:, body].reshape(streams, blocks, c * width))
    for t in tail:
        h[:, t] = g[:, t] + (h[:, t + 1 if backward else t - 1, None] @ F.mT)[:, 0]
