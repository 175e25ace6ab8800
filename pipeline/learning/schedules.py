"""Schedules: functions from the step to the factors on settings of the optimizer by name, "lr" or "momentum".

0 <= factor <= 1. A name that a step leaves out keeps its last factor. `steps` is the length of the whole training,
`epoch` that of a pass over the data.
"""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from pipeline.command.setting import Count, Share, Whole


def constant(step: int, steps: int, epoch: int) -> dict[str, float]:
    """factor = 1."""
    return {"lr": 1.0}


def epoch_decay(
    step: int, steps: int, epoch: int, after: Whole, factor: Annotated[float, Gt(0), Le(1)]
) -> dict[str, float]:
    """lr: factor ** max(0, e - after), e = completed epochs of `epoch` steps (Karpathy et al. 2015: 0.95 after 10
    epochs)."""
    return {"lr": factor ** max(0, step // epoch - after)}


def cosine(step: int, steps: int, epoch: int, warmup: Whole, floor: Share) -> dict[str, float]:
    """lr: (step + 1) / warmup while warming up, then floor + (1 - floor) (1 + cos(pi u)) / 2, u from 0 to 1 at the last
    step."""
    if step < warmup:
        return {"lr": (step + 1) / warmup}
    u = min(1.0, (step - warmup) / max(1, steps - warmup))
    return {"lr": floor + (1 - floor) * (1 + math.cos(math.pi * u)) / 2}


def rising_momentum(
    step: int,
    steps: int,
    epoch: int,
    most: Annotated[float, Ge(0), Lt(1)],
    every: Count,
    last: Whole,
    end: Annotated[float, Ge(0), Lt(1)],
) -> dict[str, float]:
    """momentum: mu_t / most, mu_t = min(1 - 2^(-1 - log2(floor(t / every) + 1)), most), and at most `end` over the last
    `last` steps; `most` is the optimizer's momentum (Sutskever, Martens, Dahl & Hinton 2013, equation 5: every 250,
    most 0.9 to 0.999; end 0.9 over the last 1,000).
    """
    momentum = min(1 - 0.5 / (step // every + 1), most, end if step >= steps - last else 1.0)
    return {"momentum": momentum / most if most else 0.0}
