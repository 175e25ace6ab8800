"""What a sequence is made of."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Symbols:
    """x_t in 0..V-1, and V for "unknown"; a model reads x_t [T, B] and gives logits of x_{t+1} [T, B, V].

    count  V
    """

    count: int
    unit: ClassVar[str] = "nats/char"  # of the loss
    element: ClassVar[str] = "char"
    digits: ClassVar[str] = ".4f"  # how a loss is written


@dataclass(frozen=True)
class Reals:
    """y_t in R^D, perhaps driven by u_t in R^U; a model reads [y_t, u_{t+1}] [T, B, D + U]
    and gives the mean of y_{t+1} [T, B, D].

    observed  D >= 1;  driving  U >= 0
    """

    observed: int
    driving: int = 0
    unit: ClassVar[str] = "squared error"
    element: ClassVar[str] = "step"
    digits: ClassVar[str] = ".4g"
