"""What every model is judged by."""

import torch
from torch import Tensor
from torch.nn import functional as F


def total_loss(prediction: Tensor, targets: Tensor) -> Tensor:
    """-sum log p(target) in nats, or sum (prediction - target)^2.

    Symbols: logits [T, B, V], targets [T, B] in 0..V; V is not scored.
    Reals: means [T, B, D], targets [T, B, D]; NaN is not scored.
    """
    if targets.is_floating_point():
        return torch.where(targets.isnan(), 0.0, prediction - targets).square().sum()
    return F.cross_entropy(
        prediction.flatten(0, 1), targets.flatten(), ignore_index=prediction.shape[-1], reduction="sum"
    )
