"""Noiseless memorization."""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from pipeline.command.setting import Count, Seed
from pipeline.datasets.data import Criterion
from pipeline.datasets.episodes import BlockEpisodes
from pipeline.datasets.space import Space, Symbols

DIGITS = "0123456789"


class Memorization(BlockEpisodes):
    """A message, T blanks, a cue, and blanks while the message is to be said again: 01101.....?..... (Martens &
    Sutskever 2011). Read are `alphabet` digits, the blank and the cue; answers are digits or the blank.

    message   digits, each drawn uniformly: with 5 of 2 it is the problem of 5 bits, with 10 of 5 that of 20
    alphabet  2 .. 10
    lag       T
    asked     recall: the last `message` steps; every: all steps, the blank before (the paper)
    """

    name = "memorization"

    def __init__(
        self,
        message: Annotated[int, Ge(1), Le(10_000)],
        alphabet: Annotated[int, Ge(2), Le(10)],
        lag: Annotated[int, Ge(0), Le(1_000_000)],
        asked: Literal["recall", "every"],
        seed: Seed,
        episodes: Count,
        held: Count,
    ):
        super().__init__(seed, episodes, held)
        self.message, self.alphabet, self.lag, self.asked = message, alphabet, lag, asked
        self.longest = 2 * message + lag + 1
        self.reads, self.answers = Symbols(alphabet + 2, "symbol"), Symbols(alphabet + 1, "symbol")

    @property
    def criterion(self) -> Criterion:
        """At most one wrong answer in 100 episodes, so that at most 1% of the episodes are wrong."""
        return Criterion(right=1 - 0.01 / (self.message if self.asked == "recall" else self.longest))

    def draw_many(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        blank, cue = self.alphabet, self.alphabet + 1
        message = rng.integers(self.alphabet, size=(self.message, count))
        symbols = np.full((self.longest, count), blank)
        symbols[: self.message], symbols[-1 - self.message] = message, cue
        targets = np.full((self.longest, count), self.answers.count if self.asked == "recall" else blank)
        targets[-self.message :] = message
        return symbols, targets

    def spell(self, space: Space, elements: np.ndarray) -> list[str]:
        others = ".?" if space is self.reads else ".·"
        return [(DIGITS[: self.alphabet] + others)[one] for one in elements]
