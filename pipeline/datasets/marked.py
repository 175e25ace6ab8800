"""Two of many numbers are marked, and only these two matter at the end.

Shapes: T time, B episodes.
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from pipeline.command.setting import Count, Seed
from pipeline.datasets.data import Criterion
from pipeline.datasets.episodes import BlockEpisodes

FIRST = 10  # pairs among which the first mark of 1997 is


class Marked(BlockEpisodes):
    """Pairs (number, mark) [T, B, 2] of two published forms, asked at the last step. A new one says what is drawn and
    what is asked, by `numbers` and `asked_of`.

    lag   T: lengths T' are drawn uniformly from T .. T + T/10
    form  martens: the marks are 1 at step I, uniform in the first T'/10 steps, and at step J, uniform in the steps
          T'/10 .. T'/2 (Martens & Sutskever 2011); 0 elsewhere
          hochreiter: the marks are 1 at one of the first ten steps, then at one of the first T/2 - 1 others, both
          uniformly, and -1 at the first and the last step; a mark that falls on the first step is not to be seen, and
          what it marks counts as `unseen` (Hochreiter & Schmidhuber 1997, experiment 4)
    """

    unseen = 0.0

    def __init__(
        self,
        lag: Annotated[int, Ge(10), Le(1_000_000)],
        form: Literal["martens", "hochreiter"],
        seed: Seed,
        episodes: Count,
        held: Count,
    ):
        super().__init__(seed, episodes, held)
        self.lag, self.form, self.longest = lag, form, lag + lag // 10

    @property
    def criterion(self) -> Criterion:
        """At most 1% of the episodes wrong (martens)."""
        return Criterion(right=0.99)

    def numbers(self, rng: np.random.Generator, *shape: int) -> np.ndarray:
        """The first of each pair, uniform in [0, 1)."""
        return rng.random(shape)

    def asked_of(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The targets of the marked numbers: [B], [B] -> [B] or [B, O]."""
        raise NotImplementedError

    def draw_many(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        lengths, every = rng.integers(self.lag, self.longest, size=count, endpoint=True), np.arange(count)
        pairs = np.zeros((self.longest, count, 2))
        pairs[..., 0] = self.numbers(rng, self.longest, count)
        places = self._places(rng, lengths)
        pairs[places, every, 1] = 1
        marked = pairs[places, every, 0]
        if self.form == "hochreiter":
            marked[places == 0] = self.unseen
            pairs[0, :, 1] = pairs[lengths - 1, every, 1] = -1
        targets = self.answers.blank(self.longest, count).numpy()
        targets[lengths - 1, every] = self.asked_of(*marked)
        return pairs, targets

    def _places(self, rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
        """Steps of the two marks [2, B]."""
        if self.form == "martens":
            return np.stack([rng.integers(lengths // 10), rng.integers(lengths // 10, lengths // 2)])
        one = rng.integers(min(FIRST, self.lag // 2), size=len(lengths))
        other = rng.integers(self.lag // 2 - 1, size=len(lengths))
        return np.stack([one, other + (other >= one)])
