"""hmm.cpp, as it was compiled when the project was installed: expected counts of a hidden Markov model of symbols.

Shapes: S observations of a stream, B streams, N states, V symbols.
"""

import ctypes
import functools
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.recurrence import forms

FEW, MANY = 128, 256  # most states for one stream, and for as many as fill a vector: with more, BLAS is faster


class Expected(NamedTuple):
    started: Tensor  # [N]
    moved: Tensor  # [N, N]
    emitted: Tensor  # [V, N]
    log_p: Tensor  # [], of what is scored of x_1 .. x_{S-1}
    after: Tensor  # [B, N], p(z_{S-2} | x_0 .. x_{S-2})


class _Model(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in "NWV"),
        *((name, ctypes.c_void_p) for name in ("A", "A_t", "likelihoods", "largest")),
    ]


class _Window(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("S", "B", "carried")),
        *((name, ctypes.c_void_p) for name in ("x", "counted", "scored", "before")),
    ]


class _Found(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in Expected._fields]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The fastest of the compiled forms that this processor can run; None where none was compiled."""
    return forms.fastest(load)


def load(form: str) -> ctypes.CDLL | None:
    """A compiled form, if it is there."""
    compiled = forms.load(Path(__file__).with_name("hmm"), form)
    if compiled is not None:
        pointers = [ctypes.POINTER(part) for part in (_Model, _Window, _Found)]
        compiled.count_expected.argtypes = [ctypes.c_int64, *pointers, ctypes.c_int64]
        compiled.lanes.argtypes, compiled.lanes.restype = [ctypes.c_int64], ctypes.c_int64
        compiled.count_expected.restype = None
    return compiled


def takes(states: int, streams: int) -> bool:
    """Whether there is a form, and it is the faster way."""
    return states <= (MANY if streams >= 8 else FEW) and library() is not None


def expected_counts(
    transition: Tensor,
    ratios: Tensor,
    tops: Tensor,
    x: Tensor,
    counted: tuple[Tensor, Tensor] | None,
    before: Tensor,
    carried: bool,
    dtype: torch.dtype,
) -> Expected:
    """A [N, N]; of each symbol and a missing one, p(x | z) over its largest [V + 1, N], and the log of that [V + 1],
    float64; symbols [S, B]; whether each observation is a stream's last scored one or before it, and whether it is
    scored, [S, B] both, None where all are; and p(z_0) [B, N]. carried: z_0 was counted before, and its symbol is not
    counted again. Computed in dtype, float64 or float32."""
    (length, streams), states, A = x.shape, len(transition), transition.to(dtype)
    width = -states % library().lanes(dtype.itemsize) + states
    parts = {
        "A": A.contiguous(),
        "A_t": A.T.contiguous(),
        "likelihoods": F.pad(ratios.to(dtype), (0, width - states)).contiguous(),
        "largest": tops.exp(),
    }
    model = _Model(states, width, len(ratios) - 1, *(part.data_ptr() for part in parts.values()))
    x, before = x.contiguous(), before.double().contiguous()
    masks = (None, None) if counted is None else tuple(mask.contiguous() for mask in counted)
    assert dtype in (torch.float32, torch.float64) and x.dtype == torch.int64
    window = _Window(
        length,
        streams,
        carried,
        x.data_ptr(),
        *(mask if mask is None else mask.data_ptr() for mask in masks),
        before.data_ptr(),
    )
    shapes = (states,), (states, states), (len(ratios), width), (1,), (streams, states)
    results = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    found = _Found(*(part.data_ptr() for part in results))
    library().count_expected(
        dtype.itemsize, ctypes.byref(model), ctypes.byref(window), ctypes.byref(found), torch.get_num_threads()
    )
    started, moved, emitted, log_p, after = results
    return Expected(started, moved * transition.double(), emitted[:-1, :states], log_p[0], after)
