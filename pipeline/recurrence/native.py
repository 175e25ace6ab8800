"""steps.cpp, as it was compiled when the project was installed: its functions, and the arrays that they read."""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from pipeline.recurrence import forms
from pipeline.recurrence.columns import Unsupported


@functools.cache
def library() -> ctypes.CDLL | None:
    """The fastest of the compiled forms that this processor can run; None where none was compiled."""
    return forms.fastest(load)


def load(form: str) -> ctypes.CDLL | None:
    """A compiled form, if it is there."""
    steps, number, address = forms.load(Path(__file__).with_name("steps"), form), ctypes.c_int64, ctypes.c_void_p
    if steps is None:
        return None
    steps.panel.argtypes = [number]
    steps.pack_matrix.argtypes = [number, address, number, number, number, number, address, number]
    steps.run_steps.argtypes = [number, address, number, address, number, address, *[number] * 6]
    return steps


def refuse(dtype: torch.dtype) -> None:
    """Raises Unsupported where steps.cpp has nothing to run."""
    if library() is None:
        raise Unsupported(
            "pipeline/recurrence/steps.cpp was not compiled at installation; "
            "install a C++ compiler (g++) and the project again"
        )
    if dtype not in (torch.float32, torch.float64):
        raise Unsupported(f"it runs float32 and float64 on a CPU, not {dtype}")


def panels(shape: tuple[int, int], dtype: torch.dtype, count: int = 1) -> Tensor:
    """Memory for `count` packed matrices of this shape [N, K]: [count, panels, K, panel]."""
    panel = library().panel(dtype.itemsize)
    return torch.empty(count, -(-shape[0] // panel), shape[1], panel, dtype=dtype)


def pack(matrices: Tensor, packed: Tensor) -> None:
    """Matrices [count, N, K] for many products operand matrix^T, into what `panels` gave for them."""
    size, threads, steps = matrices.element_size(), torch.get_num_threads(), library()
    (step, row, column), (count, N, K) = matrices.stride(), matrices.shape
    matrix, to, panels = matrices.data_ptr(), packed.data_ptr(), packed.stride(0)
    for index in range(count):
        steps.pack_matrix(size, matrix + index * step * size, row, column, N, K, to + index * panels * size, threads)


def run(
    dtype: torch.dtype,
    places: Tensor,
    works: Tensor,
    instructions: Tensor,
    registers: int,
    start: int,
    steps: int,
    stride: int,
    batch: int,
) -> None:
    """The works of time steps start, start + stride, ... for every row of the batch, by as many threads as torch has;
    the arrays as Tables makes them."""
    library().run_steps(
        dtype.itemsize,
        places.data_ptr(),
        len(places),
        works.data_ptr(),
        len(works),
        instructions.data_ptr(),
        registers,
        start,
        steps,
        stride,
        batch,
        torch.get_num_threads(),
    )
