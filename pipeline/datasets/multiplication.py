"""The multiplication problem."""

import numpy as np

from pipeline.datasets.data import Criterion
from pipeline.datasets.marked import Marked
from pipeline.datasets.space import Reals


class Multiplication(Marked):
    """The product of two marked numbers x in [0, 1), after T to 1.1 T steps; an answer is right with an error below
    0.04 (Martens & Sutskever 2011; Hochreiter & Schmidhuber 1997, experiment 5)."""

    name = "multiplication"
    reads, answers = Reals(2), Reals(1, tolerance=0.04)
    unseen = 1.0

    @property
    def criterion(self) -> Criterion:
        """hochreiter: fewer than 13 of 2,000 wrong, the stricter one of the paper's two."""
        return super().criterion if self.form == "martens" else Criterion(right=1 - 12 / 2000)

    def asked_of(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (one * other)[:, None]
