"""Gradients and Jacobians of a model's state.

s_t is the whole state that enters step t: all its parts that are real numbers, such as h_t and c_t of every layer, S
numbers a sequence. J_t = ds_t/ds_{t-1} [S, S]. A sequence ends with step T, the last one that is asked anything.

Shapes: T time, B batch, L layers, S numbers of the state.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.cells.cell import State
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import Data
from pipeline.models.model import SequenceModel


def beginning(network: SequenceModel, data: Data) -> tuple[Tensor, State]:
    """An element that is zero, [1, 1] or [1, 1, D], and the state before it when zeros are given."""
    batch = Batch(data.reads.zero(1, 1), data.answers.blank(1, 1), 0, given=tuple(g.zero(1) for g in data.given))
    batch = batch.to(network.device, network.dtype)
    return batch.inputs, network.start(1, *batch.given)


def state_size(network: SequenceModel, data: Data) -> int:
    """S."""
    _, state = beginning(network, data)
    return sum(part.numel() for part in state if part.is_floating_point())


def asked_sequences(network: SequenceModel, data: Data, part: str, count: int) -> Iterator[Batch]:
    """The first `count` sequences of "validation" or "test" that are asked anything, from their starts, one a batch,
    cut after the last step that is asked."""
    for batch in data.held_out(part):
        if batch.carried:
            continue
        batch = batch.to(network.device, network.dtype)
        for b in range(batch.inputs.shape[1]):
            one = slice(b, b + 1)
            steps = data.answers.asked(batch.targets[:, one])[:, 0].nonzero()
            if len(steps):
                end = int(steps[-1]) + 1
                given = tuple(part[one] for part in batch.given)
                yield Batch(batch.inputs[:end, one], batch.targets[:end, one], 1, given=given)
                count -= 1
                if not count:
                    return


def gradient_norms(network: SequenceModel, sequence: Batch, lags: int) -> list[float]:
    """|dL/ds_{T-n}|, n = 0, 1, .. as far back as the sequence begins, `lags` at most; L the loss of step T alone.

    network  whose steps are differentiable in its state
    """
    states = list(_states(network, sequence, lags))
    x, y = sequence.inputs, sequence.targets
    reached = [tuple(map(_leaf, states[0]))]
    for t in range(len(x) - len(states), len(x) - 1):
        reached.append(network(x[t : t + 1], reached[-1])[1])
    loss, _ = network.loss(Batch(x[-1:], y[-1:], 1), reached[-1])
    parts = [[part for part in state if part.is_floating_point()] for state in reached]
    gradients = iter(torch.autograd.grad(loss, sum(parts, []), allow_unused=True))
    squares = [sum(0.0 if (one := next(gradients)) is None else one.square().sum().item() for _ in p) for p in parts]
    return [square**0.5 for square in reversed(squares)]


def jacobian(network: SequenceModel, x: Tensor, state: State) -> Tensor:
    """J of the step that reads x [1, 1] or [1, 1, D], at a state of one sequence."""
    size = sum(part[:, 0].numel() for part in state if part.is_floating_point())
    # As many copies of the sequence as the state has numbers: the gradient of number k of copy k is row k.
    copies = tuple(_leaf(part.expand(-1, size, *part.shape[2:])) for part in state)
    _, after = network(x.expand(-1, size, *x.shape[2:]), copies)
    diagonal = _numbers(after).diagonal().sum()
    before = [part for part in copies if part.is_floating_point()]
    rows = torch.autograd.grad(diagonal, before, allow_unused=True)
    return _numbers([torch.zeros_like(part) if row is None else row for part, row in zip(before, rows)])


def singular_values(network: SequenceModel, sequence: Batch, lags: int, at: list[int]) -> dict[int, list[float]]:
    """Lag n of `at` -> the singular values of ds_T/ds_{T-n} = J_T J_{T-1} .. J_{T-n+1}, falling; as far back as the
    sequence begins. Those that rounding drowns, below S eps times the largest, are 0.

    lags  the largest of `at`, at least
    """
    states = list(_states(network, sequence, lags))
    end = len(sequence.inputs) - 1  # step T reads the last element; s_T is what the one before it leaves
    product, found = None, {}
    for lag in range(1, len(states)):
        step = jacobian(network, sequence.inputs[end - lag : end - lag + 1], states[-1 - lag])
        product = step if product is None else product @ step
        if lag in at:
            values = torch.linalg.svdvals(product)
            drowned = values < len(values) * torch.finfo(values.dtype).eps * values[0]
            found[lag] = values.masked_fill(drowned, 0.0).tolist()
    return found


@torch.no_grad()
def _states(network: SequenceModel, sequence: Batch, lags: int) -> Iterator[State]:
    """s_{T-n} of n = `lags`, or as many as there are steps before the last one, to n = 0."""
    x = sequence.inputs
    first = max(0, len(x) - 1 - lags)
    state = network.start(1, *sequence.given)
    if first:
        _, state = network(x[:first], state)
    yield state
    for t in range(first, len(x) - 1):
        _, state = network(x[t : t + 1], state)
        yield state


def _leaf(part: Tensor) -> Tensor:
    return part.detach().clone().requires_grad_(part.is_floating_point())


def _numbers(parts: State | list[Tensor]) -> Tensor:
    """The real numbers of a state, [B, S]."""
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts if part.is_floating_point()], dim=1)


def clipped(
    network: SequenceModel, batch: Batch, divisor: float, clip_value: float | None, clip_norm: float | None
) -> tuple[float, float, float]:
    """The 2-norms of the gradient of the batch's loss / divisor, from the start of its sequences, before and after
    clipping as pipeline.learning.gradient.GradientLearning does, and the angle between the two in degrees."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    loss, _ = network.loss(batch, network.start(batch.inputs.shape[1], *batch.given))
    found = torch.autograd.grad(loss / divisor, parameters, allow_unused=True)
    raw = torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(parameters, found)])
    raw = raw.double()
    after = raw if clip_value is None else raw.clamp(-clip_value, clip_value)
    if clip_norm is not None:
        after = after * min(1.0, clip_norm / (after.norm().item() + 1e-6))  # as torch.nn.utils.clip_grad_norm_
    before, norm = raw.norm().item(), after.norm().item()
    if not (before and norm):
        return before, norm, 0.0
    one, other = raw / before, after / norm
    return before, norm, math.degrees(2 * math.atan2((one - other).norm().item(), (one + other).norm().item()))
