"""How float32 matrices are multiplied on a GPU."""

from typing import Literal, get_args

import torch

from pipeline.command.refusal import Refusal

Precision = Literal["ieee", "tf32", "bf16"]

_precision: Precision = "ieee"


def matmul_precision() -> Precision:
    """What the products of this process are to be computed in, sums in float32 with each.

    ieee  float32
    tf32  operands rounded to 11 significant bits
    bf16  operands rounded to 8, by kernels of this project; cuBLAS and cuDNN, which do not round float32 to that, take
          tf32
    """
    return _precision


def set_matmul_precision(precision: Precision, gpu: bool) -> None:
    """Has this project's kernels, cuBLAS and cuDNN multiply so from here on. Raises Refusal for what no CPU does."""
    global _precision
    if precision != "ieee" and not gpu:
        raise Refusal(
            f"trainer.matmul_precision={precision}: a CPU multiplies as ieee has it: take that, or train on a GPU"
        )
    assert precision in get_args(Precision)
    _precision = precision
    # These two govern all kinds of products, and agree with what else of PyTorch asks; its newer names do so for some.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "ieee"
