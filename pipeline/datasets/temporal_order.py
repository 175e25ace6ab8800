"""The temporal order problem."""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from pipeline.command.setting import Count, Seed
from pipeline.datasets.data import Criterion
from pipeline.datasets.episodes import BlockEpisodes
from pipeline.datasets.space import Space, Symbols

LETTERS = "abcdXYBE"
X, END, BEGINNING = 4, 6, 7
# First and last step at which each letter may stand, where T = 100.
PLACES = {
    ("martens", 2): ((1, 10), (40, 50)),
    ("martens", 3): ((1, 10), (30, 40), (50, 60)),
    ("hochreiter", 2): ((10, 20), (50, 60)),
    ("hochreiter", 3): ((10, 20), (33, 43), (66, 76)),
}


class TemporalOrder(BlockEpisodes):
    """E, letters drawn uniformly from a b c d, two or three X or Y among them, and at the end B, at which it is
    asked in which order these stood: class sum_k 2^(bits - k) [letter k is Y], so that XX = 0, XY = 1, YX = 2, YY = 3.

    lag   T: lengths are drawn uniformly from T .. T + T/10
    bits  letters X or Y, 2 or 3, of 4 or 8 classes
    form  steps, counted from 0, from which their places are drawn uniformly, for T = 100; in proportion for another T
          martens: 1..10 and 40..50; 1..10, 30..40 and 50..60 (the code of Martens & Sutskever 2011)
          hochreiter: 10..20 and 50..60; 10..20, 33..43 and 66..76 (Hochreiter & Schmidhuber 1997, experiments 6a, 6b)
    """

    reads = Symbols(len(LETTERS), "symbol")

    def __init__(
        self,
        lag: Annotated[int, Ge(10), Le(1_000_000)],
        bits: Annotated[int, Ge(2), Le(3)],
        form: Literal["martens", "hochreiter"],
        seed: Seed,
        episodes: Count,
        held: Count,
    ):
        super().__init__(seed, episodes, held)
        self.name = "temporal_order" + "_3bit" * (bits == 3)
        self.lag, self.bits, self.form, self.longest = lag, bits, form, lag + lag // 10
        self.answers = Symbols(2**bits, "class")

    @property
    def criterion(self) -> Criterion:
        """martens: at most 1% of the episodes wrong; hochreiter: none, and a mean error below 0.1, which a mean loss
        -log p below 0.1 implies for the error 1 - p of the right class."""
        return Criterion(right=0.99) if self.form == "martens" else Criterion(right=1.0, loss=0.1)

    def draw_many(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        lengths, every = rng.integers(self.lag, self.longest, size=count, endpoint=True), np.arange(count)
        symbols = rng.integers(X, size=(self.longest, count))
        symbols[0], symbols[lengths - 1, every] = BEGINNING, END
        classes = np.zeros(count, int)
        for place in PLACES[self.form, self.bits]:
            first, last = (max(1, step * self.lag // 100) for step in place)
            is_y = rng.integers(2, size=count)
            symbols[rng.integers(first, last, size=count, endpoint=True), every] = X + is_y
            classes = 2 * classes + is_y
        targets = np.full((self.longest, count), self.answers.count)
        targets[lengths - 1, every] = classes
        return symbols, targets

    def spell(self, space: Space, elements: np.ndarray) -> list[str]:
        if space is self.reads:
            return [LETTERS[one] for one in elements]
        orders = [f"{one:0{self.bits}b}".replace("0", "X").replace("1", "Y") for one in range(self.answers.count)]
        return [*map([*orders, "·"].__getitem__, elements)]
