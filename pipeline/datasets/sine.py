"""A sine wave of a commanded frequency."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Seed, Split
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

    length: Annotated[int, Ge(2), Le(100_000_000)]
    slowest: Annotated[float, Gt(2)]
    fastest: Annotated[float, Gt(2)]
    shortest: Count
    longest: Count
    seed: Seed
    split: Split
    standardize: bool

    def open(self, local: str | None = None) -> Series:
        if self.slowest <= self.fastest:
            raise Refusal(f"data.slowest={self.slowest}, data.fastest={self.fastest}: take periods slowest > fastest")
        if self.shortest > self.longest:
            raise Refusal(
                f"data.shortest={self.shortest}, data.longest={self.longest}: take durations shortest <= longest"
            )
        draw = np.random.default_rng(self.seed)
        durations = draw.integers(self.shortest, self.longest, size=self.length // self.shortest + 1, endpoint=True)
        command = np.repeat(draw.random(len(durations)), durations)[: self.length]
        frequency = 1 / self.slowest + command * (1 / self.fastest - 1 / self.slowest)
        return Series(
            "sine", np.sin(2 * math.pi * np.cumsum(frequency))[:, None], command[:, None], self.split, self.standardize
        )
