"""The latch: to hold one bit."""

import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, NotNegative, Seed
from pipeline.datasets.data import Criterion
from pipeline.datasets.episodes import BlockEpisodes
from pipeline.datasets.space import Reals, Symbols


class Latch(BlockEpisodes):
    """x_t = 2 c - 1 in the first N steps, then noise x_t ~ N(0, variance); at the last step it is asked which class c,
    0 or 1, it was (the two-sequence problem of Bengio et al. 1994, in the form of Hochreiter & Schmidhuber 1997,
    experiment 3a).

    lag          T: lengths are drawn uniformly from T .. T + T/10
    informative  N, steps that say the class, 1 or 3 in the paper; N < T
    variance     of the noise, 0.2 in the paper
    """

    name = "latch"
    reads, answers = Reals(1), Symbols(2, "class")
    criterion = Criterion(right=1.0, loss=0.01)  # none wrong; the mean of the errors 1 - p is below that of -log p

    def __init__(
        self,
        lag: Annotated[int, Ge(2), Le(1_000_000)],
        informative: Count,
        variance: NotNegative,
        seed: Seed,
        episodes: Count,
        held: Count,
    ):
        super().__init__(seed, episodes, held)
        if informative >= lag:
            raise Refusal(f"data.informative={informative}: take fewer than data.lag={lag} steps that say the class")
        self.lag, self.informative, self.variance, self.longest = lag, informative, variance, lag + lag // 10

    def draw_many(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        lengths, classes = rng.integers(self.lag, self.longest, size=count, endpoint=True), rng.integers(2, size=count)
        inputs = rng.normal(0, math.sqrt(self.variance), size=(self.longest, count, 1))
        inputs[: self.informative] = (2 * classes - 1)[:, None]
        targets = np.full((self.longest, count), self.answers.count)
        targets[lengths - 1, np.arange(count)] = classes
        return inputs, targets
