"""Products of a batch with a large matrix that stays the same for many steps.

On a CPU oneDNN packs such a matrix once and then multiplies a batch of 50 by it a fifth faster than the ordinary product on one thread, and
up to 1.7 times as fast on two (H = 512). Small matrices, other types and devices take the ordinary product.

Shapes: B batch, R rows and C columns of the matrix.
"""

import torch
from torch import Tensor

SMALLEST = 2**18        # entries of a matrix from which packing pays: H = 256 for an LSTM

_packed: dict[int, tuple[Tensor, Tensor]] = {}      # address of a matrix -> packed for products with it, and with its transpose


def packs(weight: Tensor) -> bool:
    """Whether this matrix [R, C] is worth packing: a constant of the loop, large, float32, on a CPU that oneDNN serves."""
    return (not weight.requires_grad and weight.dim() == 2 and weight.numel() >= SMALLEST and weight.dtype == torch.float32
            and weight.device.type == "cpu" and torch.backends.mkldnn.is_available())


def pack(weight: Tensor, batch: int) -> None:
    """Makes the matrix ready for `add_product` with `batch` rows, until it is packed again; it must not change in between."""
    if packs(weight):
        reorder = torch.ops.mkldnn._reorder_linear_weight
        _packed[weight.data_ptr()] = (reorder(weight, batch), reorder(weight.t().contiguous(), batch))


def add_product(added: Tensor, operand: Tensor, weight: Tensor) -> Tensor:
    """added [B, R] + operand [B, C] weight^T."""
    if not packs(weight):
        return torch.addmm(added, operand, weight.t())
    return (_forward if torch.compiler.is_compiling() else _Packed.apply)(added, operand, weight)


def _multiply_forward(added: Tensor, operand: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(operand.contiguous(), added.contiguous(), _packed[weight.data_ptr()][0], None, "add")


def _multiply_backward(gradient: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(gradient.contiguous(), _packed[weight.data_ptr()][1], None, "none", [], "")


class _Packed(torch.autograd.Function):
    """The product for uncompiled steps."""

    @staticmethod
    def forward(ctx, added: Tensor, operand: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return _multiply_forward(added, operand, weight)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient, _multiply_backward(gradient, ctx.weight), None


# The same for compiled steps, which take a Python function only as an operator of its own.
_forward = torch.library.custom_op("recurrence::add_product", _multiply_forward, mutates_args=())
_backward = torch.library.custom_op("recurrence::product_backward", _multiply_backward, mutates_args=())
_forward.register_fake(lambda added, operand, weight: operand.new_empty(operand.shape[0], weight.shape[0]))
_backward.register_fake(lambda gradient, weight: gradient.new_empty(gradient.shape[0], weight.shape[1]))
_forward.register_autograd(lambda ctx, gradient: (gradient, _backward(gradient, ctx.weight), None),
                           setup_context=lambda ctx, inputs, output: setattr(ctx, "weight", inputs[2]))
