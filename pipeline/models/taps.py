"""The last K elements of a sequence, as models without memory see them."""

import torch
from torch import Tensor

from pipeline.datasets.space import Reals, Symbols


def no_taps(space: Symbols | Reals, batch: int, taps: int, like: Tensor) -> Tensor:
    """What stands before the first element: K - 1 unknown symbols [1, B, K-1], or zeros [1, B, K-1, D + U]."""
    if isinstance(space, Symbols):
        return torch.full((1, batch, taps - 1), space.count, device=like.device)
    return like.new_zeros(1, batch, taps - 1, space.observed + space.driving)


def delayed(x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Elements [T, B, ...] and the K - 1 before them [1, B, K-1, ...]
    -> [T, B, K, ...], element t-k at k, and the last K - 1 of all."""
    whole = torch.cat([before[0].transpose(0, 1), x])  # [K-1 + T, B, ...]
    taps = before.shape[2] + 1
    seen = whole.unfold(0, taps, 1).movedim(-1, 2).flip(2)
    return seen, whole[len(x) :].transpose(0, 1)[None]
