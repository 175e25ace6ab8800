"""Dropout of activities, of symbols and of recurrent weights, whose masks do not depend on the number of ranks.

Shapes: T time, B batch, H width, V symbols, R rows and C columns of a product.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from pipeline.recurrence import masks


class Dropout(nn.Module):
    """x * m / (1 - p), m ~ Bernoulli(1 - p) for each number of x [T, B, H], while learning (Srivastava et al. 2014).

    p      probability of a 0, in [0, 1)
    locked  m [1, B, H] is the same at all steps of a batch (Gal & Ghahramani 2016), instead of another one at each
    whole  sequences of the batches over all ranks together, and which of them this rank reads: the masks of all are
           drawn, from torch's global generator, and its own taken. None: it reads them all
    """

    def __init__(self, p: float, locked: bool = False):
        super().__init__()
        self.p, self.locked = p, locked
        self.whole: tuple[int, slice] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        if self.whole is None and not self.locked:
            return masks.dropout(x, self.p)
        batch, own = self.whole or (x.shape[1], slice(None))
        return x * masks.dropout(x.new_ones(1 if self.locked else len(x), batch, *x.shape[2:]), self.p)[:, own]

    def extra_repr(self) -> str:
        return f"p={self.p}, locked={self.locked}"


class SymbolDropout(nn.Module):
    """E_v * m_v / (1 - p), m_v ~ Bernoulli(1 - p) for each row v of an embedding E [V, D], while learning: a symbol is
    read as zero wherever it stands in a batch (Gal & Ghahramani 2016).

    p  probability of a 0, in [0, 1)
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, embedding: Tensor) -> Tensor:
        if not self.training or not self.p:
            return embedding
        return embedding * masks.dropout(embedding.new_ones(len(embedding), 1), self.p)


class WeightDrop(nn.Module):
    """W * M / (1 - p), M ~ Bernoulli(1 - p) for each weight of the recurrent matrices W [R, C], while learning: the
    same M at all steps of a batch and for all its sequences (Wan et al. 2013; Merity, Keskar & Socher 2018).

    p  probability of a 0, in [0, 1)
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.training or not self.p:
            return dict(weights)
        return {name: masks.dropout(weight, self.p) for name, weight in weights.items()}


def share_masks(network: nn.Module, batch: int, own: slice) -> None:
    """Lets every Dropout of `network` draw for `batch` sequences of all ranks and take its `own`."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.whole = None if own == slice(0, batch) else (batch, own)
