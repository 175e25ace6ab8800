"""echo_state.cpp, as it was compiled when the project was installed: reservoirs driven, and products of rows added up.

Shapes: C steps, B streams, I inputs, N units, K connections a unit has, R rows, M numbers of a row.
"""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from pipeline.recurrence import forms

NUMBERS = (torch.float32, torch.float64)


class _Reservoir(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in "NKI"),
        *((name, ctypes.c_void_p) for name in ("columns", "weights", "input_weight", "bias")),
        ("leak", ctypes.c_double),
    ]


class _Drive(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in "CB"),
        *((name, ctypes.c_void_p) for name in ("inputs", "symbols", "x", "seen")),
        ("row", ctypes.c_int64),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The fastest of the compiled forms that this processor can run; None where none was compiled."""
    return forms.fastest(load)


@functools.cache
def products_library() -> ctypes.CDLL | None:
    """The same, if it is one of wide vectors: BLAS is faster than the form for any processor."""
    return forms.fastest(load, forms.runnable()[:-1])


@functools.cache
def load(form: str) -> ctypes.CDLL | None:
    """A compiled form, if it is there."""
    compiled = forms.load(Path(__file__).with_name("echo_state"), form)
    if compiled is not None:
        integer, address = ctypes.c_int64, ctypes.c_void_p
        compiled.drive.argtypes = [integer, ctypes.POINTER(_Reservoir), ctypes.POINTER(_Drive), integer]
        compiled.add_products.argtypes = [integer, integer, address, address, integer]
        compiled.drive.restype = compiled.add_products.restype = None
    return compiled


def drive(matrices: tuple[Tensor, ...], leak: float, v: Tensor, x: Tensor, seen: Tensor) -> Tensor:
    """Of each unit columns [N K] and weights [N K] of its connections, input_weight [N, I] and bias [N]; what is read,
    v [C, B, I] or symbols [C, B], and the states before it [N, B] -> the states after the last step. Those after each
    are written to seen [C, B, N], which may be the first columns of longer rows.

    seen is float64, columns and symbols are int64; all others are float64, or all float32."""
    (steps, batch, units), dtype, symbols = seen.shape, x.dtype, not v.is_floating_point()
    columns, *others = matrices = [part.contiguous() for part in matrices]
    v, x = v.contiguous(), x.clone(memory_format=torch.contiguous_format)
    assert dtype in NUMBERS and {part.dtype for part in others} == {dtype} and seen.dtype == torch.float64
    assert columns.dtype == torch.int64 and v.dtype == (torch.int64 if symbols else dtype)
    row = seen.stride(1) if batch > 1 else seen.stride(0)
    assert seen.stride(2) == 1 and (batch == 1 or steps == 1 or seen.stride(0) == batch * row)
    of = _Reservoir(units, len(columns) // units, others[1].shape[1], *(part.data_ptr() for part in matrices), leak)
    given = (None, v.data_ptr()) if symbols else (v.data_ptr(), None)
    along = _Drive(steps, batch, *given, x.data_ptr(), seen.data_ptr(), row)
    library().drive(dtype.itemsize, ctypes.byref(of), ctypes.byref(along), torch.get_num_threads())
    return x


def add_products(sums: Tensor, rows: Tensor) -> None:
    """sums [M, M] += rows^T rows, at least its lower triangle; rows [R, M], float64, both contiguous."""
    assert sums.is_contiguous() and rows.is_contiguous() and sums.dtype == rows.dtype == torch.float64
    count, size = rows.shape
    products_library().add_products(size, count, rows.data_ptr(), sums.data_ptr(), torch.get_num_threads())
