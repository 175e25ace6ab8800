"""The one loop over time that every cell shares.

Three ways to run through T steps, equal to rounding, and PyTorch's kernels for the cells that PyTorch ships:

reference  the plain differentiable loop. Any dtype; forward-mode and double differentiation.
deferred   for training: each step's operators in a straight line (pipeline.schedule), forward and backward, without an autograd graph; one
           product per weight matrix, after the backward loop, gives its gradient.
compiled   deferred, with what lies between two products compiled into one kernel.
library    torch's kernel (oneDNN, cuDNN), where the cell is exactly one that it ships.

Shapes: T time, B batch, R rows and C columns of a product.
"""

import functools
import math
import warnings
from collections.abc import Collection

import torch
from torch import Tensor

from pipeline.cells.cell import Cell
from pipeline.schedule import Lease, borrow
from pipeline.verb import Refusal

ENGINES = ("reference", "deferred", "compiled", "library")
CHECKED = 8     # steps on which compiled kernels are compared with what they were compiled from

# Compiling costs 5 to 15 s and saves about a tenth of a run: worth it from 100 s on. Operations a second, of a core and of a GPU:
WORTH_COMPILING = 100.0
SPEED = {"cpu": 4e10, "cuda": 4e12}

State = tuple[Tensor, ...]


def choose(engine: str, cells: Collection[Cell], device: str, operations: float = 0.0, seconds: float | None = None) -> str:
    """The engine that "auto" stands for; any other stays.

    library where that is fastest: cuDNN's kernels, and oneDNN's LSTM. For the other cells compiled, where the run is long enough to earn the
    compilation back, else deferred; PyTorch's own loops for the GRU and the RNN on a CPU take up to twice as long.

    operations  floating-point operations that the whole run will take, 0 if no training follows;  seconds  its budget, if it has one
    Raises Refusal for an engine that does not exist or that a cell does not have.
    """
    kernels = all(cell.library for cell in cells)
    if engine == "auto":
        expected = min(operations / SPEED[device], math.inf if seconds is None else seconds)
        fastest = kernels and (device != "cpu" or all(cell.library == "lstm" for cell in cells))
        return "library" if fastest else "compiled" if expected > WORTH_COMPILING else "deferred"
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
    return _deferred(cell, x, state, engine == "compiled" and _can_compile() and _compiled_is_right(cell, x, state))


def _reference(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    added = {name: slot.unbind(0) for name, slot in addends(cell, cell.project(x), x.shape[:2]).items()}
    constants, weights, outputs = cell.constants(x.shape[1]), dict(cell.recurrent), []
    for t in range(len(x)):
        x_t = {name: slot[t] for name, slot in added.items()} | constants
        state = cell.step(x_t, state, lambda name, operand: cell.multiply(name, weights[name], operand, x_t))
        outputs.append(state[0])
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


class _Deferred(torch.autograd.Function):
    """The steps of a cell, forward and backward, by its program: added to products, other projections, constants, state and weights ->
    outputs [T, B, H], states after."""

    @staticmethod
    def forward(ctx, lease: Lease, cell: Cell, keys: list[tuple[str, str | int]], *tensors: Tensor):
        ctx.lease, ctx.cell, ctx.keys = lease, cell, keys
        program, given = lease.program, dict(zip(keys, tensors, strict=True))
        of = {kind: {name: part for (its, name), part in given.items() if its == kind} for kind in ("added", "x", "constant", "state", "weight")}
        steps, batch = len(next(iter((of["added"] | of["x"]).values()))), len(of["state"][0])
        for name, buffer in program.xs.items():
            buffer[:steps].copy_(of["x"][name])
        for name, buffer in program.constants.items():
            buffer.copy_(of["constant"][name])
        for buffer, part in zip(program.states, of["state"].values(), strict=True):
            buffer[0].copy_(part)
        ctx.read = {name: part for name, part in of["x"].items() if name not in program.xs}      # by the products themselves
        ctx.weights, ctx.steps = of["weight"], steps
        ctx.of_step = [{name: part[t] for name, part in ctx.read.items()} for t in range(steps)]
        multiply = {name: cell.multiplier(weight, batch) for name, weight in of["weight"].items()}
        program.forward(steps, multiply, {name: part.unbind(0) for name, part in of["added"].items()}, ctx.of_step)
        return program.states[0][1:steps + 1].clone(), *(part[steps].clone() for part in program.states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_outputs: Tensor, *d_states: Tensor):
        cell, program, steps, batch = ctx.cell, ctx.lease.program, ctx.steps, d_outputs.shape[1]
        multiply = {name: cell.multiplier(weight.mT, batch) for name, weight in ctx.weights.items()}
        program.backward(steps, multiply, d_outputs, d_states, ctx.of_step)
        gradients = {("state", index): part.clone() for index, part in enumerate(program.d_states[1])}
        gradients |= {("x", name): part[:steps] for name, part in program.d_xs.items()}
        gradients |= {("constant", name): part.clone() for name, part in program.d_constants.items()}
        for name, weight in ctx.weights.items():
            gradient, operand = program.d_results[name][:steps], program.operands[name][:steps]
            gradients["added", name] = gradient
            gradients["weight", name], more = cell.product_gradients(weight, gradient, operand, ctx.read)
            gradients |= {("x", other): part for other, part in more.items()}
        return None, None, None, *(gradients.get(key) for key in ctx.keys)


def _deferred(cell: Cell, x: Tensor, state: State, compiled: bool) -> tuple[Tensor, State]:
    projected, constants = cell.project(x), cell.constants(x.shape[1])
    weights = dict(cell.recurrent)
    added = {name: part for name, part in addends(cell, projected, x.shape[:2]).items()
             if name in weights and (name in projected or name in cell.recurrent_bias)}
    xs = {name: part for name, part in projected.items() if name not in weights}
    given = {(kind, name): part for kind, parts in (("added", added), ("x", xs), ("constant", constants), ("state", dict(enumerate(state))),
                                                    ("weight", weights)) for name, part in parts.items()}
    lease = borrow(cell, {name: part[0] for name, part in xs.items() if part.is_floating_point()}, constants, state, len(x), compiled)
    outputs, *after = _Deferred.apply(lease, cell, list(given), *given.values())
    return outputs, tuple(after)


@functools.cache
def _can_compile() -> bool:
    """Whether anything can be compiled here; one warning where not."""
    try:
        torch.compile(torch.sin)(torch.zeros(2))
    except Exception as error:
        warnings.warn(f"nothing can be compiled here ({str(error).splitlines()[0]}): training goes on uncompiled, a little slower; "
                      f"a C++ compiler (g++) mends it", stacklevel=2)
        return False
    return True


_verdicts: dict[tuple, bool] = {}


def _compiled_is_right(cell: Cell, x: Tensor, state: State) -> bool:
    """Whether compiled steps give what uncompiled ones give, gradients included; tried once for each cell, size and dtype.

    Compilers have defects: one gave a wrong gradient for a form of the coupled gates here. A warning says where they disagree.
    """
    key = (type(cell), cell.inputs, cell.hidden, x.shape[1], x.is_floating_point(), cell.input_weight.dtype, x.device.type)
    if key not in _verdicts:
        x, state = x[:CHECKED].detach(), tuple(part.detach().requires_grad_() for part in state)
        wanted = [*cell.parameters(), *state]
        found = []
        for compiled in (True, False):
            outputs, after = _deferred(cell, x, state, compiled)
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
