"""The random permutation problem."""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from pipeline.command.setting import Count, Seed
from pipeline.datasets.data import Criterion
from pipeline.datasets.episodes import BlockEpisodes
from pipeline.datasets.space import Symbols


class RandomPermutation(BlockEpisodes):
    """x_0 uniform in {0, 1}, x_1 .. x_{T-1} uniform in {2 .. V-1}; at the last step it is asked what comes next: x_0
    again (Martens & Sutskever 2011). Symbols may come twice: the name is older than that form, and misleads.

    lag      T, steps of every episode
    symbols  V, of which all but two distract

    The paper's networks predict every symbol and are judged on the last; those in between cannot be predicted, and are
    not asked here.
    """

    name = "random_permutation"
    criterion = Criterion(right=0.99)

    def __init__(
        self,
        lag: Annotated[int, Ge(2), Le(1_000_000)],
        symbols: Annotated[int, Ge(3), Le(1_000_000)],
        seed: Seed,
        episodes: Count,
        held: Count,
    ):
        super().__init__(seed, episodes, held)
        self.lag = self.longest = lag
        self.reads = self.answers = Symbols(symbols, "symbol")

    def draw_many(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        symbols = rng.integers(2, self.reads.count, size=(self.lag, count))
        symbols[0] = rng.integers(2, size=count)
        targets = np.full_like(symbols, self.answers.count)
        targets[-1] = symbols[0]
        return symbols, targets
