"""From what a network's last layer says to predictions, and what they cost.

Shapes: T time, B batch, H width of what is seen, O width of a prediction, V symbols, S drawn symbols.
"""

import math
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pipeline.cells.products import linear, product
from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count
from pipeline.datasets.space import Space, Symbols

BLOCK = 2**22  # logits that are in memory at once while a loss is found: 16 MiB of float32


class Readout(nn.Module):
    """h [T, B, H] -> z [T, B, O], and the loss of targets.

    seen       H
    answers    space of the predictions
    embedding  [V, D] of the symbols that are read, or None
    """

    roles = {"weight": "output", "bias": "bias"}

    def __init__(self, seen: int, answers: Space, embedding: nn.Parameter | None):
        super().__init__()
        self.answers = answers

    def loss(self, h: Tensor, y: Tensor) -> Tensor:
        """The sum of the losses of what is asked."""
        return self.answers.loss(self(h), y)


class MatrixReadout(Readout):
    """z = W h + b, W = `weight` [O, H] and b = `bias` [O]. Where symbols' logits would be more than BLOCK numbers, the
    loss and its gradients are found block by block."""

    weight: nn.Parameter
    bias: nn.Parameter

    def forward(self, h: Tensor) -> Tensor:
        return linear(h, self.weight, self.bias)

    def loss(self, h: Tensor, y: Tensor) -> Tensor:
        if not isinstance(self.answers, Symbols) or y.numel() * self.answers.count <= BLOCK:
            return super().loss(h, y)
        return cross_entropy(h.flatten(0, -2), self.weight, self.bias, y.flatten())


class LinearReadout(MatrixReadout):
    """z = W h + b. O (H + 1) parameters, uniform in +-1/sqrt(H) at first."""

    def __init__(self, seen: int, answers: Space, embedding: nn.Parameter | None = None):
        super().__init__(seen, answers, embedding)
        drawn = nn.Linear(seen, answers.width)
        self.weight, self.bias = drawn.weight, drawn.bias


class TiedReadout(MatrixReadout):
    """z = E h + b, E the embedding of the symbols that are read: one matrix for both (Press & Wolf 2017; Inan, Khosravi
    & Socher 2017). V parameters beside the embedding's.

    Raises Refusal where symbols are not embedded, or H is not the width of their embedding.
    """

    def __init__(self, seen: int, answers: Space, embedding: nn.Parameter | None):
        super().__init__(seen, answers, embedding)
        shared = "readout=tied: shares the embedding of the symbols that are read and answered"
        if not isinstance(answers, Symbols) or embedding is not None and answers.count != len(embedding):
            raise Refusal(f"{shared}, and here other things are answered than read: take readout=linear")
        if embedding is None:
            raise Refusal(f"{shared}: take model.embedding={seen}")
        if embedding.shape[1] != seen:
            raise Refusal(
                f"readout=tied: model.embedding={embedding.shape[1]} is to be as wide as what the readout sees, {seen}:"
                f" take model.embedding={seen}"
            )
        self.weight = embedding
        self.bias = nn.Parameter(torch.zeros(answers.count))


class AdaptiveReadout(Readout):
    """log p(y) = log p(cluster of y) + log p(y | cluster): frequent symbols have the whole width, clusters of rarer
    ones H / factor^k (Grave et al. 2017). PyTorch's AdaptiveLogSoftmaxWithLoss; z are log-probabilities.

    cutoffs  increasing numbers of symbols below V at which clusters begin; symbols are to be numbered by their
             frequency
    factor   > 1; symbols of a cluster whose width rounds down to 0 are all alike
    """

    roles = {"softmax": "output"}

    def __init__(
        self,
        seen: int,
        answers: Space,
        embedding: nn.Parameter | None,
        cutoffs: list[Count],
        factor: Annotated[float, Gt(1)],
    ):
        super().__init__(seen, answers, embedding)
        if not isinstance(answers, Symbols):
            raise Refusal("readout=adaptive: answers with symbols: take readout=linear")
        cutoffs = list(cutoffs)
        rising = all(one < other for one, other in zip([0, *cutoffs], [*cutoffs, answers.count]))
        if not (cutoffs and rising):
            raise Refusal(
                f"readout.cutoffs={cutoffs}: take increasing whole numbers from 1 to {answers.count - 1}, "
                "or readout=linear"
            )
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(seen, answers.count, cutoffs, factor)

    def forward(self, h: Tensor) -> Tensor:
        return self.softmax.log_prob(h.flatten(0, -2)).view(*h.shape[:-1], -1)

    def loss(self, h: Tensor, y: Tensor) -> Tensor:
        asked = self.answers.entries(y)
        # A cluster without a target has a gradient of zero, not none: ranks wait for the gradients of all parameters.
        nothing = sum(parameter.view(-1)[:1].sum() * 0 for parameter in self.softmax.parameters())
        return nothing - self.softmax(h[asked], y[asked]).output.sum()


class SampledReadout(LinearReadout):
    """While learning, for the log of the softmax's denominator: log(exp(z_y) + 1/S sum_{s: k_s != y} exp(z_{k_s}) /
    q(k_s)), S symbols k_s drawn with replacement from q(k) = log((k + 2) / (k + 1)) / log(V + 1), about Zipf's law
    (Bengio & Senecal 2008; Jean et al. 2015 for symbols drawn once for a whole batch). The sum's mean over draws is the
    denominator; the gradient's differs from the softmax's by O(1/S). Else as LinearReadout.

    samples  S >= 1 for each batch, the same for all of its steps; symbols are to be numbered by their frequency; all
             ranks draw the same ones.
    Memory while learning: T B (S + H) and S H numbers, no T B V.
    """

    def __init__(self, seen: int, answers: Space, embedding: nn.Parameter | None, samples: Count):
        super().__init__(seen, answers, embedding)
        if not isinstance(answers, Symbols):
            raise Refusal("readout=sampled: answers with symbols: take readout=linear")
        self.samples = samples

    def log_proposal(self, symbols: Tensor) -> Tensor:
        """log q."""
        return torch.log(torch.log1p(1 / (symbols.double() + 1)) / math.log(self.answers.count + 1)).to(
            self.weight.dtype
        )

    def draw(self) -> Tensor:
        """S symbols ~ q, from torch's global generator, [S]."""
        u = torch.rand(self.samples, dtype=torch.float64, device=self.weight.device)
        return (torch.exp(u * math.log(self.answers.count + 1)).long() - 1).clamp(0, self.answers.count - 1)

    def loss(self, h: Tensor, y: Tensor) -> Tensor:
        if not self.training:
            return super().loss(h, y)
        asked = self.answers.entries(y)
        h, y, drawn = h[asked], y[asked], self.draw()
        of_target = (h * self.weight[y]).sum(-1) + self.bias[y]
        of_drawn = linear(h, self.weight[drawn], self.bias[drawn]) - self.log_proposal(drawn) - math.log(self.samples)
        of_drawn = of_drawn.masked_fill(drawn == y[:, None], -math.inf)
        return (torch.logsumexp(torch.cat([of_target[:, None], of_drawn], dim=-1), dim=-1) - of_target).sum()


def cross_entropy(h: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Tensor:
    """-sum_n log softmax(W h_n + b)[y_n], n with y_n < V: as `Symbols.loss` of all logits, to rounding.

    h [N, H], weight [V, H], bias [V], y [N]. Differentiable once. Memory: two blocks of BLOCK numbers and, while
    learning, one gradient of each operand; no N V.
    """
    wanted = tuple(torch.is_grad_enabled() and operand.requires_grad for operand in (h, weight, bias))
    return _CrossEntropy.apply(h, weight, bias, y, wanted)


class _CrossEntropy(torch.autograd.Function):
    """The gradients are found with the loss, while a block's logits are there."""

    @staticmethod
    def forward(ctx, h: Tensor, weight: Tensor, bias: Tensor, y: Tensor, wanted: tuple[bool, ...]) -> Tensor:
        loss = h.new_zeros(())
        of_h, of_weight, of_bias = (
            torch.zeros_like(operand) if one else None for operand, one in zip((h, weight, bias), wanted)
        )
        rows = max(1, BLOCK // len(weight))
        for start in range(0, len(h), rows):
            seen, targets = h[start : start + rows], y[start : start + rows, None]
            asked, targets = targets < len(weight), targets.clamp(max=len(weight) - 1)
            log_p = torch.log_softmax(product(seen, weight, bias), dim=-1)
            loss -= torch.where(asked, log_p.gather(1, targets), 0.0).sum()
            if not any(wanted):
                continue
            of_logits = log_p.exp_()
            of_logits.scatter_add_(1, targets, of_logits.new_full(targets.shape, -1.0)).mul_(asked)
            if of_h is not None:
                of_h[start : start + rows] = product(of_logits, weight.t())
            if of_weight is not None:
                of_weight += product(of_logits.t(), seen.t())
            if of_bias is not None:
                of_bias += of_logits.sum(0)
        ctx.save_for_backward(of_h, of_weight, of_bias)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = (None if part is None else gradient * part for part in ctx.saved_tensors)
        return *found, None, None
