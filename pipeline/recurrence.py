"""The one loop over time that every cell shares.

Three ways to run through T steps, equal to rounding, and PyTorch's kernels for the cells that PyTorch ships:

reference  the plain differentiable loop. Any dtype; forward-mode and double differentiation.
deferred   for training: what a step adds to its products is an autograd tensor of all steps, so that one product per weight matrix, after
           the backward loop, gives its gradient; within the loop a weight costs nothing but the products themselves.
compiled   deferred, with a few steps at a time compiled into fused kernels.
library    torch's kernel (oneDNN, cuDNN), where the cell is exactly one that it ships.

Shapes: T time, B batch, R rows and C columns of a product.
"""

import functools
import math
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pipeline.cells.cell import Cell
from pipeline.products import pack
from pipeline.verb import Refusal

ENGINES = ("reference", "deferred", "compiled", "library")
CHUNK = 10      # most steps compiled together: compiling takes time in proportion

# Compiling costs 10 to 20 s and saves about a fifth of a run: worth it from 100 s on. Operations a second, of a core and of a GPU:
WORTH_COMPILING = 100.0
SPEED = {"cpu": 4e10, "cuda": 4e12}

State = tuple[Tensor, ...]


def choose(engine: str, cells: Iterable[Cell], device: str, operations: float = 0.0, seconds: float | None = None) -> str:
    """The engine that "auto" stands for; any other stays.

    library where there is one: cuDNN and oneDNN's LSTM are the fastest there are, and the others do their loop in C++. For the other
    cells compiled, where the run is long enough to earn the compilation back; on a CPU below H = 256 alone, from where on products
    take most of the time and packed ones (pipeline.products) do more for it.

    operations  floating-point operations that the whole run will take, 0 if no training follows;  seconds  its budget, if it has one
    Raises Refusal for an engine that does not exist or that a cell does not have.
    """
    kernels = all(cell.library for cell in cells)
    if engine == "auto":
        expected = min(operations / SPEED[device], math.inf if seconds is None else seconds)
        gains = device == "cuda" or all(cell.hidden < 256 for cell in cells)
        return "library" if kernels else "compiled" if gains and expected > WORTH_COMPILING else "deferred"
    if engine not in ENGINES:
        raise Refusal(f"trainer.engine={engine}: take auto, {', '.join(ENGINES)}")
    if engine == "library" and not kernels:
        raise Refusal("trainer.engine=library: PyTorch has no kernel for this cell; take auto, compiled, deferred or reference")
    return engine


def run(cell: Cell, x: Tensor, state: State, engine: str) -> tuple[Tensor, State]:
    """Inputs [T, B, D] or symbols [T, B] and the state before them -> outputs [T, B, H] and the state after, by `engine` of ENGINES."""
    if engine == "library":
        return _library(cell, x, state)
    if engine == "reference" or not torch.is_grad_enabled():
        return _reference(cell, x, state)
    if engine == "compiled" and _compiled_is_right(cell, x, state):
        return _deferred(cell, x, state, _compiled_steps())
    return _deferred(cell, x, state, _steps)


def _reference(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    added = addends(cell, cell.project(x), x.shape[:2])
    outputs, state, _ = _steps(cell, {name: slot.unbind(0) for name, slot in added.items()}, cell.constants(x.shape[1]), state,
                               dict(cell.recurrent), len(x))
    return torch.stack(outputs), state


def addends(cell: Cell, projected: dict[str, Tensor], shape: tuple[int, int]) -> dict[str, Tensor]:
    """Adds to the projections what each product adds to at every step: its projection, its bias, both, or zeros; [T, B, R]."""
    added = dict(projected)
    for name, weight in cell.recurrent.items():
        bias = cell.recurrent_bias[name] if name in cell.recurrent_bias else None
        if name not in added:
            bias = weight.new_zeros(()) if bias is None else bias
            added[name] = bias.expand(*shape, cell.products[name][0])
        elif bias is not None:
            added[name] = added[name] + bias
    return added


def _steps(cell: Cell, added: dict[str, tuple[Tensor, ...]], constants: dict[str, Tensor], state: State, weights: dict[str, Tensor],
           steps: int) -> tuple[list[Tensor], State, dict[str, list[Tensor]]]:
    """`steps` time steps -> the outputs, the state after them and every product's operands."""
    outputs, operands = [], {name: [] for name in weights}
    for t in range(steps):
        x = {name: slot[t] for name, slot in added.items()} | constants

        def product(name: str, operand: Tensor) -> Tensor:
            operands[name].append(operand)
            return cell.multiply(name, weights[name], operand, x)

        state = cell.step(x, state, product)
        outputs.append(state[0])
    return outputs, state, operands


class _Deferred(torch.autograd.Function):
    """slot -> slot. Its gradient, that of the product's results at all steps, gives the weight's too: one product with the operands,
    which the steps have left in `operands` by then."""

    @staticmethod
    def forward(ctx, slot: Tensor, weight: Tensor, cell: Cell, name: str, operands: list[Tensor], x: dict[str, Tensor]) -> Tensor:
        ctx.cell, ctx.name, ctx.operands, ctx.x = cell, name, operands, x
        return slot.view_as(slot)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        weight = ctx.cell.weight_gradient(ctx.name, gradient, torch.cat(ctx.operands), ctx.x)
        return gradient, weight, None, None, None, None


def _deferred(cell: Cell, x: Tensor, state: State, run_steps: Callable) -> tuple[Tensor, State]:
    projected = cell.project(x)
    added = addends(cell, projected, x.shape[:2])
    constants = cell.constants(x.shape[1])
    weights = {name: weight.detach() for name, weight in cell.recurrent.items()}
    for weight in weights.values():
        pack(weight, x.shape[1])
    history: dict[str, list[Tensor]] = {name: [] for name in weights}
    for name in weights:
        added[name] = _Deferred.apply(added[name], cell.recurrent[name], cell, name, history[name], projected)
    added = {name: slot.unbind(0) for name, slot in added.items()}
    outputs: list[Tensor] = []
    length = chunk_length(len(x)) if run_steps is not _steps else len(x)
    for first in range(0, len(x), length):
        last = min(first + length, len(x))
        part = {name: slot[first:last] for name, slot in added.items()}
        steps = run_steps if last - first == length else _steps
        some, state, operands = steps(cell, part, constants, state, weights, last - first)
        outputs += some
        for name, used in operands.items():
            history[name].append(torch.stack([operand.detach() for operand in used]))
    return torch.stack(outputs), state


def chunk_length(steps: int) -> int:
    """Steps compiled together: the largest divisor of `steps` up to CHUNK, or CHUNK with a rest where that is below half of it."""
    divisor = max(d for d in range(1, CHUNK + 1) if steps % d == 0)
    return divisor if 2 * divisor >= CHUNK or steps < CHUNK else CHUNK


@functools.cache
def _compiled_steps() -> Callable:
    """`_steps` compiled; `_steps` itself, with one warning, where nothing can be compiled."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)     # one entry a cell, size and dtype
    try:
        torch.compile(torch.sin)(torch.zeros(2))
    except Exception as error:
        warnings.warn(f"nothing can be compiled here ({str(error).splitlines()[0]}): training goes on uncompiled, a little slower; "
                      f"a C++ compiler (g++) mends it", stacklevel=2)
        return _steps
    return torch.compile(_steps, dynamic=False)


_verdicts: dict[tuple, bool] = {}


def _compiled_is_right(cell: Cell, x: Tensor, state: State) -> bool:
    """Whether compiled steps give what uncompiled ones give, gradients included; tried once for each cell, size and dtype.

    Compilers have defects: one gave a wrong gradient for a form of the coupled gates here. A warning says where they disagree.
    """
    key = (type(cell), cell.inputs, cell.hidden, x.shape[1], x.is_floating_point(), cell.input_weight.dtype, x.device.type)
    if key not in _verdicts:
        x, state = x[:2 * CHUNK].detach(), tuple(part.detach().requires_grad_() for part in state)
        wanted = [*cell.parameters(), *state]
        found = []
        for steps in (_compiled_steps(), _steps):
            outputs, after = _deferred(cell, x, state, steps)
            loss = sum((part * part).sum() for part in (outputs, *after))
            found.append([outputs, *after, *torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)])
        tolerance = 1e-3 if cell.input_weight.dtype == torch.float32 else 1e-8
        _verdicts[key] = all((ours - theirs).abs().max() <= tolerance * theirs.abs().max() for ours, theirs in zip(*found, strict=True))
        if not _verdicts[key]:
            warnings.warn(f"the compiler gives wrong numbers for {type(cell).__name__}: it runs uncompiled", stacklevel=2)
    return _verdicts[key]


def _library(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    """torch's own kernel on the cell's parameters."""
    if not x.is_floating_point():
        x = torch.eye(cell.inputs + 1, cell.inputs, dtype=cell.input_weight.dtype, device=x.device)[x]
    [(name, weight)] = cell.recurrent.items()
    bias = cell.recurrent_bias[name] if name in cell.recurrent_bias else torch.zeros_like(cell.input_bias)
    flat = [cell.input_weight, weight, cell.input_bias, bias]
    state = tuple(part.unsqueeze(0).contiguous() for part in state)
    outputs, *after = getattr(torch, cell.library)(x, state if cell.library == "lstm" else state[0], flat, True, 1, 0.0, cell.training,
                                                   False, False)
    return outputs, tuple(part.squeeze(0) for part in after)
