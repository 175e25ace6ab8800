"""The last K elements of a sequence, as models without memory see them."""

import torch
from torch import Tensor

from pipeline.datasets.space import Space


def no_taps(reads: Space, batch: int, taps: int, like: Tensor) -> Tensor:
    """What stands before the first element: K - 1 zero inputs [1, B, K-1, ...], numbers of the type of `like`."""
    before = reads.zero(1, batch, taps - 1)
    return before.to(like.device, like.dtype if before.is_floating_point() else None)


def delayed(x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Elements [T, B, ...] and the K - 1 before them [1, B, K-1, ...] -> [T, B, K, ...], element t-k at k, and the last
    K - 1 of all."""
    whole = torch.cat([before[0].transpose(0, 1), x])  # [K-1 + T, B, ...]
    taps = before.shape[2] + 1
    seen = whole.unfold(0, taps, 1).movedim(-1, 2).flip(2)
    return seen, whole[len(x) :].transpose(0, 1)[None]
