"""Dropout whose masks do not depend on the number of ranks."""

from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """x * m / (1 - p), m ~ Bernoulli(1 - p) for each number of x [T, B, H], while learning (Srivastava et al. 2014).

    p      probability of a 0, in [0, 1)
    whole  sequences of the batches over all ranks together, and which of them this rank reads: the masks of all are
           drawn, from torch's global generator, and its own taken. None: it reads them all
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.whole: tuple[int, slice] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        if self.whole is None:
            return F.dropout(x, self.p)
        batch, own = self.whole
        return x * F.dropout(x.new_ones(x.shape[0], batch, *x.shape[2:]), self.p)[:, own]

    def extra_repr(self) -> str:
        return f"p={self.p}"


def share_masks(network: nn.Module, batch: int, own: slice) -> None:
    """Lets every Dropout of `network` draw for `batch` sequences of all ranks and take its `own`."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.whole = None if own == slice(0, batch) else (batch, own)
