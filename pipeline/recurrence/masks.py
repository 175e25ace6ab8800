"""masks.cpp, as it was compiled when the project was installed: masks of dropout, bit for bit those of torch."""

import ctypes
import functools
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.recurrence import forms

FEW = 2048  # numbers, below which torch is as fast
# Bytes of the state of torch's generator: how many words are left, and one; the next one's index; 624 words.
LEFT, NEXT, WORDS, WHOLE = slice(8, 12), slice(16, 24), slice(24, 24 + 8 * 624), 5056


def dropout(x: Tensor, p: float) -> Tensor:
    """x m / (1 - p), m ~ Bernoulli(1 - p) for each number, drawn from torch's global generator: what F.dropout gives,
    and what it leaves of the generator, an order of magnitude faster on a CPU."""
    if not x.is_cpu or x.dtype not in (torch.float32, torch.float64) or x.numel() < FEW or library() is None:
        return F.dropout(x, p)
    mask = torch.empty_like(x, requires_grad=False)
    torch.set_rng_state(_draw(library(), torch.get_rng_state(), mask, 1 - p))
    return x * mask


@functools.cache
def library() -> ctypes.CDLL | None:
    """The fastest of the compiled forms that this processor can run; None where none was compiled, or where this torch
    draws otherwise."""
    compiled = forms.fastest(load)
    return compiled if compiled is not None and draws_as_torch(compiled) else None


def load(form: str) -> ctypes.CDLL | None:
    """A compiled form, if it is there."""
    compiled, number, address = forms.load(Path(__file__).with_name("masks"), form), ctypes.c_int64, ctypes.c_void_p
    if compiled is not None:
        pointer = ctypes.POINTER(number)
        compiled.draw_mask.argtypes = [address, pointer, pointer, number, number, ctypes.c_double, number, address]
        compiled.draw_mask.restype = None
    return compiled


def draws_as_torch(compiled: ctypes.CDLL) -> bool:
    """Whether masks and the generator's states after them are those of torch."""
    generator = torch.Generator().manual_seed(0)
    for dtype, keep in ((torch.float32, 0.7), (torch.float64, 0.5)):
        state, mask, expected = generator.get_state(), torch.empty(1001, dtype=dtype), torch.empty(1001, dtype=dtype)
        if len(state) != WHOLE:
            return False
        expected.bernoulli_(keep, generator=generator).div_(keep)
        after = _draw(compiled, state, mask, keep)
        if not torch.equal(mask, expected) or not torch.equal(after, generator.get_state()):
            return False
    return True


def _draw(compiled: ctypes.CDLL, state: Tensor, mask: Tensor, keep: float) -> Tensor:
    """Fills `mask`, in the order of its memory -> the state after."""
    left, index, words = (
        state[part].view(dtype) for part, dtype in ((LEFT, torch.int32), (NEXT, torch.int64), (WORDS, torch.int64))
    )
    drawn_from, remaining, at = words.to(torch.uint32), ctypes.c_int64(left.item() - 1), ctypes.c_int64(index.item())
    one = mask.new_ones(()).div_(keep).item()
    below = math.ceil(math.ldexp(keep, 53))  # a number is below `keep` if its 53 bits are
    compiled.draw_mask(
        drawn_from.data_ptr(), remaining, at, mask.numel(), below, one, mask.element_size(), mask.data_ptr()
    )
    words.copy_(drawn_from)
    left.fill_(remaining.value + 1)
    index.fill_(at.value)
    return state
