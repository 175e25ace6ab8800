"""Whether compiled steps can be had here, and are right."""

import functools
import warnings

import torch
from torch import Tensor

from pipeline.cells.cell import Cell, State
from pipeline.recurrence.passes import by_program

CHECKED = 8  # steps on which compiled kernels are compared with what they were compiled from


@functools.cache
def can_compile() -> bool:
    """Whether anything can be compiled here; one warning where not."""
    try:
        torch.compile(torch.sin)(torch.zeros(2))
    except Exception as error:
        warnings.warn(
            f"nothing can be compiled here ({str(error).splitlines()[0]}): training goes on uncompiled, a little "
            "slower; a C++ compiler (g++) mends it",
            stacklevel=2,
        )
        return False
    return True


_verdicts: dict[tuple, bool] = {}


def compiled_is_right(cell: Cell, x: Tensor, state: State) -> bool:
    """Whether compiled steps give what uncompiled ones give, gradients included;
    tried once for each cell, size and dtype.

    Compilers have defects: one gave a wrong gradient for a form of the coupled gates here.
    A warning says where they disagree.
    """
    key = (
        type(cell),
        cell.inputs,
        cell.hidden,
        x.shape[1],
        x.is_floating_point(),
        cell.input_weight.dtype,
        x.device.type,
    )
    if key not in _verdicts:
        x, state = x[:CHECKED].detach(), tuple(part.detach().requires_grad_() for part in state)
        wanted = [*cell.parameters(), *state]
        found = []
        for engine in ("compiled", "deferred"):
            outputs, after = by_program(cell, x, state, dict(cell.recurrent), engine)
            loss = sum((part * part).sum() for part in (outputs, *after))
            found.append(
                [outputs, *after, *torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)]
            )
        tolerance = 1e-3 if cell.input_weight.dtype == torch.float32 else 1e-8
        _verdicts[key] = all(
            (ours - theirs).abs().max() <= tolerance * theirs.abs().max() for ours, theirs in zip(*found, strict=True)
        )
        if not _verdicts[key]:
            warnings.warn(
                f"the compiler gives wrong numbers for {type(cell).__name__}: it runs uncompiled", stacklevel=2
            )
    return _verdicts[key]
