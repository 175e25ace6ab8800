"""Patterns to be recalled from what corruption left of them."""

from functools import cached_property

import numpy as np
import torch

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Seed, Share
from pipeline.datasets.episodes import BlockEpisodes
from pipeline.datasets.space import Bits, Reals

NUMBERS = 0x5EED  # of the random numbers that patterns are made of, beside those of episodes


class Attractors(BlockEpisodes):
    """P patterns xi of N bits, drawn once, each bit 1 with probability 1/2. An episode is given one of them as s = +-1
    [N] with some of its signs turned, reads nothing for T steps, and is asked the pattern's bits [N] at the last K of
    them: K = 1 asks where the network arrives; more teach it to stay there, which makes the pattern an attractor; K = T
    asks at every step.

    patterns    P >= 1; each block of 500 episodes has all as often, or once more
    units       N >= 1
    corruption  share of the N signs that are turned: round(corruption N) of them, any as likely
    steps       T >= 1
    asked       K, 1 .. T
    seed        of the patterns and of the episodes
    All parts have the same patterns, each time corrupted anew. Given [N], inputs [T, 0], targets [T, N]. After Hopfield
    1982 and the lecture's "ways of giving inputs and targets".
    """

    name = "attractors"
    reads = Reals(0)

    def __init__(
        self,
        patterns: Count,
        units: Count,
        corruption: Share,
        steps: Count,
        asked: Count,
        seed: Seed,
        episodes: Count,
        held: Count,
    ):
        super().__init__(seed, episodes, held)
        if asked > steps:
            raise Refusal(f"data.asked={asked}: an episode has data.steps={steps}: take so many at most")
        self.patterns, self.units, self.corruption, self.asked, self.longest = patterns, units, corruption, asked, steps
        self.answers, self.given = Bits(units), (Reals(units),)

    @cached_property
    def stored(self) -> np.ndarray:
        """The patterns, 0 and 1, [P, N]."""
        return np.random.default_rng([self.seed, NUMBERS]).integers(2, size=(self.patterns, self.units))

    def draw_many(self, rng: np.random.Generator, count: int) -> tuple:
        rounds = -(-count // self.patterns)
        order = rng.permuted(np.tile(np.arange(self.patterns), (rounds, 1)), axis=1)
        bits_BN = self.stored[order.ravel()[:count]]
        turned_BN = np.zeros((count, self.units), dtype=bool)
        turned_BN[:, : round(self.corruption * self.units)] = True
        given_BN = np.where(rng.permuted(turned_BN, axis=1), 1 - 2 * bits_BN, 2 * bits_BN - 1)
        targets = self.answers.blank(self.longest, count)
        targets[-self.asked :] = torch.from_numpy(bits_BN).double()
        return np.zeros((self.longest, count, 0)), targets, given_BN

    def corrupted(self, corruption: float, held: int) -> "Attractors":
        """The same patterns with another share of their signs turned."""
        settings = (self.units, corruption, self.longest, self.asked, self.seed, self.episodes, held)
        return Attractors(self.patterns, *settings)
