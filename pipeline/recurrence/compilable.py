"""Whether compiled steps can be had here, and are right."""

import functools
import warnings

import torch
from torch import Tensor

from pipeline.cells.cell import Cell, State
from pipeline.recurrence.passes import by_program
from pipeline.recurrence.precision import matmul_precision

CHECKED = 8  # steps on which compiled kernels are compared with what they were compiled from


@functools.cache
def can_compile(device: str) -> bool:
    """Whether anything can be compiled here for "cpu" or "cuda"; one warning where not."""
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:
        warnings.warn(
            f"nothing can be compiled here ({str(error).splitlines()[0]}): training goes on uncompiled, a little "
            f"slower; {'a C++ compiler (g++)' if device == 'cpu' else 'Triton and a C compiler (gcc)'} mends it",
            stacklevel=2,
        )
        return False
    return True


_verdicts: dict[tuple, bool] = {}


def is_right(engine: str, cell: Cell, x: Tensor, state: State) -> bool:
    """Whether steps by an engine give what deferred ones give, gradients included;
    tried once for each cell, size and dtype.

    Compilers have defects: one gave a wrong gradient for a form of the coupled gates here.
    A warning says where they disagree, or what could not be compiled.
    """
    key = (
        engine,
        type(cell),
        cell.inputs,
        cell.hidden,
        x.shape[1],
        x.is_floating_point(),
        cell.input_weight.dtype,
        x.device.type,
        matmul_precision(),
    )
    if key not in _verdicts:
        _verdicts[key] = _agree(engine, cell, x, state)
    return _verdicts[key]


@torch.enable_grad()
def _agree(engine: str, cell: Cell, x: Tensor, state: State) -> bool:
    x, state = x[:CHECKED].detach(), tuple(part.detach().requires_grad_() for part in state)
    wanted = [*filter(lambda part: part.requires_grad, cell.parameters()), *state]
    found = []
    for way in (engine, "deferred"):
        try:
            outputs, after = by_program(cell, x, state, dict(cell.recurrent), way)
            loss = sum((part * part).sum() for part in (outputs, *after))
            of_loss = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        except Exception as error:
            if way == "deferred":
                raise
            _warn(f"{type(cell).__name__} cannot be compiled here ({(str(error) or repr(error)).splitlines()[0]})")
            return False
        found.append([outputs, *after, *of_loss])
    if cell.input_weight.dtype == torch.float64:
        tolerance = 1e-8
    else:
        tolerance = 1e-3 if matmul_precision() == "ieee" else 0.1
    agree = all(
        (ours - theirs).abs().max() <= tolerance * theirs.abs().max() for ours, theirs in zip(*found, strict=True)
    )
    if not agree:
        _warn(f"the compiler gives wrong numbers for {type(cell).__name__}")
    return agree


def _warn(why: str) -> None:
    warnings.warn(f"{why}: it runs uncompiled, more slowly", stacklevel=2)
