"""Where a map leads that is applied again and again: orbits, what they settle to, and how they part.

A map takes states [S, n], float64, each row for itself, and the numbers [S] of the starts that they go on from, to the
next states; S starts, n numbers of a state, T steps.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import jvp

from pipeline.cells.cell import State

Map = Callable[[Tensor, Tensor], Tensor]
READ = 100  # elements that are read before each start, where a part is one sequence
ROWS = 8192  # states of one evaluation of a map
HALVINGS = 12  # of a Newton step
TURNING = 100  # steps until a direction is one that grows the most
TINY = 1e-300


class FreeRun(nn.Module):
    """v_{t+1} = F(v_t): a network's state at the next step when it is left to itself. It reads its own prediction where
    that is the next element of a series that nothing drives, else zeros.

    v is every number of the state that a step changes, and what is read next where that is fed back, [S, n]; the rest
    of the state, such as what is clamped, is what a start was given. In float64, on the CPU, from S `starts`, those
    after held-out sequences: after each of the first S, or after S pieces of one that is long.
    """

    def __init__(self, network, data, starts: int):
        super().__init__()
        self.network = copy.deepcopy(network).cpu().double().eval()
        self.network.run_on("cpu", "reference")
        self.reads = data.reads
        x, given = held_out(data, starts)
        self.fed_back = data.foretells and x.is_floating_point() and data.reads.width == data.answers.width
        with torch.no_grad():
            z, self.state = self.network(x, self.network.start(x.shape[1], *given))
            noise = tuple(part + torch.rand_like(part) for part in self.state)
            _, after = self.network(x[:1], noise)
        self.moving = [not torch.equal(*parts) for parts in zip(noise, after, strict=True)]
        self.starts = self._packed(self.state, z[-1])

    def forward(self, v: Tensor, start: Tensor) -> Tensor:
        """v [S, n], numbers of starts [S] -> [S, n]."""
        widths = [part[:, 0].numel() for part, moves in zip(self.state, self.moving) if moves]
        *parts, read = v.split([*widths, v.shape[1] - sum(widths)], 1)
        state = []
        for part, moves in zip(self.state, self.moving):
            layers, _, *shape = part.shape
            state.append(parts.pop(0).reshape(-1, layers, *shape).transpose(0, 1) if moves else part[:, start])
        if self.fed_back:
            z, state = self.network(read[None], tuple(state))
            return self._packed(state, z[-1])
        x = self.reads.zero(1, len(v))
        return self._packed(self.network.activities(x, tuple(state))[1], read)

    def _packed(self, state: State, read: Tensor) -> Tensor:
        parts = [part.transpose(0, 1).flatten(1) for part, moves in zip(state, self.moving) if moves]
        return torch.cat([*parts, *[read] * self.fed_back], 1)


def held_out(data, starts: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Sequences of the part that models are judged on, [T, S, ...], and what they are given: at most S = `starts`."""
    batch = next(iter(data.held_out(data.judged_on, starts * READ if data.contiguous else None)))
    batch = batch.to(torch.device("cpu"), torch.float64)
    x = batch.inputs
    if x.shape[1] == 1:
        starts = min(starts, len(x))
        x = x[-(len(x) // starts * starts) :, 0].unflatten(0, (starts, -1)).transpose(0, 1)
    return x[:, :starts], tuple(part[:starts] for part in batch.given)


class Orbits(NamedTuple):
    """states    [T, S, n], after the transient
    exponents  [S], the largest Lyapunov exponent of each orbit, nats a step"""

    states: Tensor
    exponents: Tensor


@torch.no_grad()
def follow(step: Map, starts: Tensor, transient: int, steps: int, seed: int) -> Orbits:
    """lambda = 1/T sum_t log |J_t w_t|, w_{t+1} = J_t w_t / |J_t w_t|, J_t the Jacobian at v_t: by how much close
    orbits part at each step (Benettin et al. 1980). The first `transient` steps count for nothing; the last 100 of them
    (TURNING) turn w, which is drawn from `seed`, to where it grows the most."""
    v, states, every = starts, [], torch.arange(len(starts))
    for _ in range(transient - TURNING):
        v = step(v, every)
    w = torch.randn(starts.shape, dtype=starts.dtype, generator=torch.Generator().manual_seed(seed))
    total = torch.zeros(len(starts), dtype=starts.dtype)
    for t in range(min(transient, TURNING) + steps):
        w = w / w.norm(dim=1, keepdim=True).clamp_min(TINY)
        v, w = pushed(step, v, every, w)
        if t >= min(transient, TURNING):
            states.append(v)
            total += w.norm(dim=1).clamp_min(TINY).log()
    return Orbits(torch.stack(states), total / steps)


def periods(states: Tensor, longest: int, tolerance: float = 1e-6) -> list[int | None]:
    """Of each orbit in states [T, S, n] the least p in 1..`longest` with |v_t - v_{t-p}| <= `tolerance` in every number
    over the last `longest` steps, T >= 2 `longest`; 1 for a point; None: it has none."""
    last = states[-longest:]
    found: list[int | None] = [None] * states.shape[1]
    for period in range(longest, 0, -1):
        before = states[-longest - period : len(states) - period]
        for orbit in ((last - before).abs().amax((0, 2)) <= tolerance).nonzero()[:, 0].tolist():
            found[orbit] = period
    return found


def turning(states: Tensor) -> float | None:
    """Steps from one upward crossing of its mean to the next, of the number of an orbit [T, n] that varies the most;
    None where it does not cross it twice."""
    most = states[:, states.var(0).argmax()]
    above = most > most.mean()
    [crossings] = (above[1:] & ~above[:-1]).nonzero(as_tuple=True)
    if len(crossings) < 2:
        return None
    return (crossings[-1] - crossings[0]).item() / (len(crossings) - 1)


def pushed(step: Map, v: Tensor, start: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """F(v), and J w, J the Jacobian of each row at v: [S, n] each."""
    return jvp(lambda states: step(states, start), (v,), (w,))


@torch.no_grad()
def jacobians(step: Map, v: Tensor, start: Tensor) -> Tensor:
    """dF/dv at each state [S, n] -> [S, n, n]."""
    n = v.shape[1]
    rows = torch.arange(len(v)).repeat_interleave(n)
    directions = torch.eye(n, dtype=v.dtype).repeat(len(v), 1)
    columns = [
        pushed(step, v[part], start[part], some)[1] for part, some in zip(rows.split(ROWS), directions.split(ROWS))
    ]
    return torch.cat(columns).view(len(v), n, n).transpose(1, 2)


class Point(NamedTuple):
    """v = F(v), [n];  radius  the largest |eigenvalue| of the Jacobian there: below 1 the point is stable."""

    v: Tensor
    radius: float


@torch.no_grad()
def fixed_points(
    step: Map, starts: Tensor, start: Tensor, iterations: int = 60, tolerance: float = 1e-9
) -> list[Point]:
    """Distinct solutions of F(v) = v that Newton's method finds from `starts` [S, n], each step halved until
    |F(v) - v|^2 falls, and given up where it does not; solved where no number is further off than `tolerance`. A lower
    bound on how many there are.

    start  [S], the start that each row goes on from
    """
    v, eye = starts.clone(), torch.eye(starts.shape[1], dtype=starts.dtype)
    off, falling = step(v, start) - v, torch.ones(len(v), dtype=torch.bool)
    for _ in range(iterations):
        [rows] = (falling & (off.abs().amax(1) > tolerance) & off.isfinite().all(1)).nonzero(as_tuple=True)
        if not len(rows):
            break
        jacobian = jacobians(step, v[rows], start[rows]) - eye
        change = torch.linalg.solve_ex(jacobian, off[rows])[0]  # not finite where it is singular
        falling[rows] = False
        for halving in range(HALVINGS):
            near = v[rows] - change * 0.5**halving
            at_near = step(near, start[rows]) - near
            falls = at_near.square().sum(1) < off[rows].square().sum(1)
            v[rows[falls]], off[rows[falls]], falling[rows[falls]] = near[falls], at_near[falls], True
            rows, change = rows[~falls], change[~falls]
    distinct: list[Point] = []
    for row in (off.abs().amax(1) <= tolerance).nonzero()[:, 0].tolist():
        if all((v[row] - point.v).abs().max() > 1e-5 for point in distinct):
            [jacobian] = jacobians(step, v[row : row + 1], start[row : row + 1])
            distinct.append(Point(v[row], torch.linalg.eigvals(jacobian).abs().max().item()))
    return distinct
