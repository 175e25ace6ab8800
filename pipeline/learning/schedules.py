"""Learning-rate schedules: functions from the step to the factor on the optimizer's learning rate, 0 <= factor <= 1."""

import math


def constant(step: int, steps: int, epoch: int) -> float:
    """factor = 1."""
    return 1.0


def epoch_decay(step: int, steps: int, epoch: int, after: int, factor: float) -> float:
    """factor ** max(0, e - after), e = completed epochs of `epoch` steps
    (Karpathy et al. 2015: 0.95 after 10 epochs)."""
    return factor ** max(0, step // epoch - after)


def cosine(step: int, steps: int, epoch: int, warmup: int, floor: float) -> float:
    """(step + 1) / warmup while warming up, then floor + (1 - floor) (1 + cos(pi u)) / 2,
    u from 0 to 1 at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    u = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * (1 + math.cos(math.pi * u)) / 2
