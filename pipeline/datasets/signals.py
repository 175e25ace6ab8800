"""Real-valued series made in memory, the same for the same configuration."""

import csv
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.datasets.series import Series


@dataclass(frozen=True)
class Sine:
    """y_t = sin(phi_t), phi_t = phi_{t-1} + 2 pi f_t, f_t = 1/slowest + u_t (1/fastest - 1/slowest): a sine wave of the
    frequency that u commands (lecture, "A simple example of an echo state network";
    after Jaeger 2002, the tunable frequency generator).

    u_t in [0, 1] is constant for a while, then steps to a new value;
    values and durations are drawn uniformly. U = D = 1.
    length    N elements
    slowest, fastest  steps a period at u = 0 and u = 1; slowest > fastest > 2, for a period has two steps at least
    shortest, longest  steps for which a command holds, 1 <= shortest <= longest
    """

    length: int
    slowest: float
    fastest: float
    shortest: int
    longest: int
    seed: int
    split: str
    standardize: bool

    def generate(self) -> Series:
        _refuse_below(self.length, 2)
        if not self.slowest > self.fastest > 2:
            raise Refusal(
                f"data.slowest={self.slowest}, data.fastest={self.fastest}: take periods slowest > fastest > 2"
            )
        if not 1 <= self.shortest <= self.longest:
            raise Refusal(
                f"data.shortest={self.shortest}, data.longest={self.longest}: take durations 1 <= shortest <= longest"
            )
        draw = np.random.default_rng(self.seed)
        durations = draw.integers(self.shortest, self.longest, size=self.length // self.shortest + 1, endpoint=True)
        command = np.repeat(draw.random(len(durations)), durations)[: self.length]
        frequency = 1 / self.slowest + command * (1 / self.fastest - 1 / self.slowest)
        return Series(
            "sine", np.sin(2 * math.pi * np.cumsum(frequency))[:, None], command[:, None], self.split, self.standardize
        )


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

    length: int
    tau: int
    a: float
    b: float
    n: float
    start: float
    scheme: str
    seed: int | None
    split: str
    standardize: bool

    def generate(self) -> Series:
        _refuse_below(self.length, 2)
        if self.tau < 1 or int(self.tau) != self.tau:
            raise Refusal(f"data.tau={self.tau}: take a whole number from 1")
        if self.scheme not in STEPS:
            raise Refusal(f"data.scheme={self.scheme}: take {' or '.join(STEPS)}")
        step, noise = (
            STEPS[self.scheme],
            0.0 if self.seed is None else 0.2 * (np.random.default_rng(self.seed).random(self.tau) - 0.5),
        )
        x = [*(np.full(self.tau, self.start) + noise).tolist(), self.start]
        while len(x) < self.tau + self.length:
            delayed = x[-1 - self.tau]
            x.append(step(x[-1], self.a * delayed / (1 + delayed**self.n), self.b))
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


@dataclass(frozen=True)
class Sunspots:
    """Sunspot numbers of the years 1700 to 2008, N = 309: the series for which Yule (1927) invented autoregression.
    D = 1, U = 0.

    Read from the file that the package statsmodels ships (public domain; from the National Geophysical Data Center).
    """

    split: str
    standardize: bool

    def generate(self) -> Series:
        package = importlib.util.find_spec("statsmodels")  # not imported: that takes seconds
        if package is None:
            raise Refusal(
                "data=sunspots reads a file of the package statsmodels, which is not installed: pip install statsmodels"
            )
        with (Path(package.origin).parent / "datasets" / "sunspots" / "sunspots.csv").open() as file:
            numbers = [float(row["SUNACTIVITY"]) for row in csv.DictReader(file)]
        return Series("sunspots", np.array(numbers)[:, None], np.empty((len(numbers), 0)), self.split, self.standardize)


def _refuse_below(length: int, least: int) -> None:
    if length < least:
        raise Refusal(f"data.length={length}: take a whole number from {least}")
