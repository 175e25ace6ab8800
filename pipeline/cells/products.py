"""Products of matrices, by the faster of the two libraries that PyTorch has on a CPU.

oneDNN multiplies float32 matrices up to 2.3 times as fast as MKL where MKL leaves AVX-512 unused (AMD), and a matrix
that stays the same for many products can be packed once for all of them. Its calls cost 10 us, so small products, other
types, processors and devices take PyTorch's ordinary one; without AVX-512 MKL is the faster by a sixth.

Shapes: M and K of the first matrix, N and K of the second one; B batch, R rows and C columns of a weight.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

CAPABILITY = torch.backends.cpu.get_cpu_capability()
WORTH = 2**20  # multiplications of one product from which oneDNN is faster: 50 x 128 x 192
GATHERING = 20  # rows of a matrix that are gathered in the time of one column


def served(first: Tensor, second: Tensor, count: int) -> bool:
    """Whether oneDNN takes the product of matrices like these, of `count` rows with all of `second`:
    large, float32, on a CPU with AVX-512."""
    on_cpu = first.device.type == second.device.type == "cpu" and CAPABILITY == "AVX512"
    return (
        on_cpu
        and first.dtype == second.dtype == torch.float32
        and second.dim() == 2
        and count > 1
        and count * second.numel() >= WORTH
        and torch.backends.mkldnn.is_available()
    )


def ready(weight: Tensor, batch: int) -> Callable[[Tensor], Tensor]:
    """operand [B, C] -> operand weight^T [B, R], fast for many operands of `batch` rows;
    the matrix must not change in between."""
    if not served(weight, weight, batch):
        return lambda operand: torch.mm(operand, weight.t())
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), batch)
    return lambda operand: _onednn(operand, packed, None)


def product(first: Tensor, second: Tensor, bias: Tensor | None = None) -> Tensor:
    """first [M, K], second [N, K], bias [N] -> first second^T + bias [M, N];
    differentiable as often as wanted, forward too."""
    if served(first, second, len(first)):
        return _Product.apply(first, second, bias)
    return F.linear(first, second, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """W x + b for [..., D], or for symbols 0..D as columns of W (D: a zero input)."""
    if x.is_floating_point():
        rows = x if x.dim() == 2 else x.flatten(0, -2)
        return product(rows, weight, bias).view(*x.shape[:-1], len(weight))
    symbols = weight.shape[1]
    if GATHERING * x.numel() < symbols:
        columns = torch.where((x < symbols)[..., None], weight.t()[x.clamp(max=symbols - 1)], 0.0)
        return columns if bias is None else columns + bias
    return (_Columns.apply if torch.is_grad_enabled() else _columns)(x, weight, bias)


def _columns(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = F.pad(weight, (0, 1)).t().contiguous()
    return F.embedding(x, rows if bias is None else rows.add_(bias))


class _Columns(torch.autograd.Function):
    """As one operation: in autograd the small ones that it is made of take longer than their arithmetic."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.symbols = weight.shape[1]
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return _columns(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (_, of_weight, of_bias) = ctx.saved_tensors, ctx.needs_input_grad
        rows = torch.ops.aten.embedding_dense_backward(gradient, x, ctx.symbols + 1, -1, False)
        return None, rows[:-1].t() if of_weight else None, rows.sum(0) if of_bias else None

    @staticmethod
    def jvp(ctx, _: None, d_weight: Tensor | None, d_bias: Tensor | None) -> Tensor:
        (x,) = ctx.saved_tensors
        parts = [] if d_weight is None else [F.embedding(x, F.pad(d_weight, (0, 1)).t())]
        return sum(parts if d_bias is None else [*parts, d_bias.expand(*x.shape, -1)])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
        first, second = _dense(first), _dense(second)
        # oneDNN copies the first matrix into rows: that had better be the smaller one.
        if bias is None and not first.is_contiguous() and len(second) < len(first):
            return _onednn(second, first, None).t().contiguous()
        return _onednn(first, second, bias)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (first, second), wanted = ctx.saved_tensors, ctx.needs_input_grad
        return (
            product(gradient, second.t()) if wanted[0] else None,
            product(gradient.t(), first.t()) if wanted[1] else None,
            gradient.sum(0) if wanted[2] else None,
        )

    @staticmethod
    def jvp(ctx, d_first: Tensor | None, d_second: Tensor | None, d_bias: Tensor | None) -> Tensor:
        first, second = ctx.saved_tensors
        parts = [
            product(d_first, second) if d_first is not None else None,
            product(first, d_second) if d_second is not None else None,
            d_bias.expand(len(first), -1) if d_bias is not None else None,
        ]
        return sum(part for part in parts if part is not None)


def _onednn(first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(first, second, bias, "none", [], "")


def _dense(matrix: Tensor) -> Tensor:
    """Rows or columns one after the other, as oneDNN reads them."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()
