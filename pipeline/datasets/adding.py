"""The adding problem."""

import numpy as np

from pipeline.datasets.data import Criterion
from pipeline.datasets.marked import Marked
from pipeline.datasets.space import Reals


class Adding(Marked):
    """The mean of two marked numbers, after T to 1.1 T steps; an answer is right with an error below 0.04.

    martens     x in [0, 1), target (x_I + x_J) / 2 (Martens & Sutskever 2011)
    hochreiter  x in [-1, 1), target 1/2 + (x_I + x_J) / 4 (Hochreiter & Schmidhuber 1997, experiment 4)
    """

    name = "adding"
    reads, answers = Reals(2), Reals(1, tolerance=0.04)

    @property
    def criterion(self) -> Criterion:
        """hochreiter: all episodes right, and a mean absolute error below 0.01; for that the root of the mean square,
        which is never smaller, is asked to be."""
        return super().criterion if self.form == "martens" else Criterion(right=1.0, loss=0.01**2)

    def numbers(self, rng: np.random.Generator, *shape: int) -> np.ndarray:
        drawn = super().numbers(rng, *shape)
        return drawn if self.form == "martens" else 2 * drawn - 1

    def asked_of(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        target = (one + other) / 2 if self.form == "martens" else 0.5 + (one + other) / 4
        return target[:, None]
