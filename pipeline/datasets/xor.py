"""The XOR problem."""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from pipeline.command.setting import Count, Seed
from pipeline.datasets.marked import Marked
from pipeline.datasets.space import Bits, Symbols


class Xor(Marked):
    """The exclusive or of two marked bits, after T to 1.1 T steps (Martens & Sutskever 2011): as the adding problem of
    their form, with bits for numbers. Neither bit alone says anything of the answer."""

    name = "xor"
    reads, answers = Bits(2), Symbols(2, "class")

    def __init__(self, lag: Annotated[int, Ge(10), Le(1_000_000)], seed: Seed, episodes: Count, held: Count):
        super().__init__(lag, "martens", seed, episodes, held)

    def numbers(self, rng: np.random.Generator, *shape: int) -> np.ndarray:
        return rng.integers(2, size=shape)

    def asked_of(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one != other
