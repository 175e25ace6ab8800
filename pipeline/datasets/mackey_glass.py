"""The chaotic Mackey-Glass delay equation."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Number, Seed, Split
from pipeline.datasets.series import Series


@dataclass(frozen=True)
class MackeyGlass:
    """dx/dt = a x(t - tau) / (1 + x(t - tau)^n) - b x(t) (Mackey & Glass 1977), one element a unit of time;
    chaotic from tau = 17 or so on.

    D = 1, U = 0.

    length    N elements, from x(0) = start on
    tau       whole number >= 1;  a, b, n  > 0
    scheme    how a unit step is taken, the delayed value held during it. "runge_kutta": of fourth order. "reservoirpy":
              as that library does, so that figures published with it compare; its third and fourth slopes are twice too
              far off the second, which at b = 0.1 makes the step 3 per cent short: time runs that much slower.
    seed      of the history before t = 0: start + uniform in +-0.1; None: start alone
    """

    length: Annotated[int, Ge(2), Le(100_000_000)]
    tau: Annotated[int, Ge(1), Le(1_000_000)]
    a: Number
    b: Number
    n: Number
    start: Number
    scheme: Literal["reservoirpy", "runge_kutta"]
    seed: Seed | None
    split: Split
    standardize: bool

    def open(self, local: str | None = None) -> Series:
        step, noise = (
            STEPS[self.scheme],
            0.0 if self.seed is None else 0.2 * (np.random.default_rng(self.seed).random(self.tau) - 0.5),
        )
        x = [*(np.full(self.tau, self.start) + noise).tolist(), self.start]
        while len(x) < self.tau + self.length:
            try:
                delayed = x[-1 - self.tau]
                x.append(step(x[-1], self.a * delayed / (1 + delayed**self.n), self.b))
            except (OverflowError, ZeroDivisionError):
                x.append(math.inf)
            if isinstance(x[-1], complex) or not math.isfinite(x[-1]):  # complex: a root of a negative number
                raise Refusal(
                    f"data=mackey_glass: the series leaves the range of numbers at element {len(x) - self.tau:,}: "
                    f"take other values than data.a={self.a}, b={self.b}, n={self.n}, start={self.start}"
                )
        values = np.array(x[self.tau :])[:, None]
        return Series("mackey_glass", values, np.empty((self.length, 0)), self.split, self.standardize)


def runge_kutta(x: float, gain: float, b: float) -> float:
    """x(t + 1) for dx/dt = gain - b x, to fourth order."""
    k1 = gain - b * x
    k2 = gain - b * (x + k1 / 2)
    k3 = gain - b * (x + k2 / 2)
    k4 = gain - b * (x + k3)
    return x + (k1 + 2 * k2 + 2 * k3 + k4) / 6


def reservoirpy_step(x: float, gain: float, b: float) -> float:
    """x(t + 1) as reservoirpy.datasets.mackey_glass (0.4.2) has it:
    twice the slopes 2 and 3 serve as if they were the slopes themselves."""
    k1 = gain - b * x
    k2 = 2 * k1 - b * k1
    k3 = 2 * k1 - b * k2
    k4 = k1 - b * k3
    return x + (k1 + k2 + k3 + k4) / 6


STEPS = {"reservoirpy": reservoirpy_step, "runge_kutta": runge_kutta}
