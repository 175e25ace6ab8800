"""Preconditioned conjugate gradients, ended by their progress."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 5e-4  # of progress, a step
SPACING = 1.3  # of the steps whose iterates are kept, from one to the next
SHORTEST = 10  # steps at least over which progress is measured


class Iterate(NamedTuple):
    """x after so many steps, and phi(x) = x^T A x / 2 - b^T x."""

    step: int
    x: Tensor
    value: float


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, start: Tensor, diagonal: Tensor, most: int
) -> list[Iterate]:
    """Minimizes phi(x) = x^T A x / 2 - b^T x, A x = b at its minimum, with the preconditioner diag(diagonal), from
    `start`, or from 0 where phi(start) > 0 -> the iterates after steps ceil(1.3^j), j = 0, 1, .., and after the last
    one; where it starts alone if there is nothing to gain (Martens 2010, sections 4.4 to 4.7).

    product   v -> A v, A symmetric and positive definite [N, N]
    diagonal  [N], > 0
    most      steps at most
    Ends after step i > k = max(10, i / 10) with phi(x_i) < 0 and (phi(x_i) - phi(x_{i-k})) / phi(x_i) < k 5e-4; before
    that only where A shows no positive curvature, as it does by rounding at the minimum.
    """
    x, residual = start, product(start) - b
    if not _value(x, residual, b) <= 0:
        x, residual = torch.zeros_like(start), -b
    scaled = residual / diagonal
    direction, norm = -scaled, residual @ scaled
    values = [_value(x, residual, b)]
    kept, last = [], Iterate(0, x, values[0])
    due = _due()
    wanted = next(due)
    for step in range(1, most + 1):
        along = product(direction)
        curvature = direction @ along
        if not (curvature > 0 and norm > 0):
            break
        rate = norm / curvature
        x, residual = x + rate * direction, residual + rate * along
        scaled = residual / diagonal
        before, norm = norm, residual @ scaled
        direction = norm / before * direction - scaled
        values.append(_value(x, residual, b))
        last = Iterate(step, x, values[-1])
        if step == wanted:
            kept.append(last)
            wanted = next(due)
        over = max(SHORTEST, step // 10)
        if step > over and values[-1] < 0 and (values[-1] - values[-1 - over]) / values[-1] < over * TOLERANCE:
            break
    return kept if kept and kept[-1] is last else [*kept, last]


def _value(x: Tensor, residual: Tensor, b: Tensor) -> float:
    """phi(x), by A x = residual + b."""
    return 0.5 * torch.dot(x, residual - b).item()


def _due():
    """1, 2, 3, 4, 5, 7, 9, ..: ceil(SPACING^j), each once."""
    step = j = 0
    while True:
        if math.ceil(SPACING**j) > step:
            step = math.ceil(SPACING**j)
            yield step
        j += 1
