"""The one loop over time that every cell shares.

Ways to run through T steps, equal to rounding, and PyTorch's kernels for the cells that PyTorch ships:

reference  the plain differentiable loop. Any dtype; forward-mode and double differentiation.
fused      on a CPU: all steps are one call of steps.cpp, forward or backward, compiled when the project is installed:
           packed matrices, and pointwise functions on strips that stay in the cache (pipeline.recurrence.fused).
           Threads share the batch.
deferred   on any device, for training: each step's operators in a straight line (pipeline.recurrence.schedule).
compiled   deferred, with what lies between two products compiled into one kernel.
library    torch's kernel (oneDNN, cuDNN), where the cell is exactly one that it ships.

fused, deferred and compiled make no autograd graph of the steps, and one product per weight matrix, after the backward
loop, gives its gradient. Without gradients deferred and compiled are the reference.

Shapes: T time, B batch, R rows and C columns of a product.
"""

import functools
import math
import warnings
from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.cells.cell import Cell
from pipeline.command.refusal import Refusal
from pipeline.recurrence import fused, native
from pipeline.recurrence.columns import Unsupported
from pipeline.recurrence.programs import Lease, borrow, record

ENGINES = ("reference", "fused", "deferred", "compiled", "library")
CHECKED = 8  # steps on which compiled kernels are compared with what they were compiled from
AT_ONCE = 256  # steps of a part of a pass without gradients, so that long ones need no more memory

# Compiling costs 5 to 15 s and saves about a tenth of a run: worth it from 100 s on.
WORTH_COMPILING = 100.0
# Operations a second, of a core and of a GPU.
SPEED = {"cpu": 4e10, "cuda": 4e12}

State = tuple[Tensor, ...]


def choose(
    engine: str, cells: Collection[Cell], device: str, operations: float = 0.0, seconds: float | None = None
) -> str:
    """The engine that "auto" stands for; any other stays.

    On a CPU fused, where the cell can be run so: it is faster than PyTorch's own kernels. On a GPU library, for the
    cells that cuDNN has. Else compiled, where the run is long enough to earn the compilation back, else deferred. Where
    steps.cpp was not compiled a warning says so, and oneDNN's LSTM is the faster one.

    operations  floating-point operations that the whole run will take, 0 if no training follows
    seconds     its budget, if it has one
    Raises Refusal for an engine that does not exist or that a cell does not have.
    """
    kernels = all(cell.library for cell in cells)
    unfit = None
    if engine in ("auto", "fused"):
        unfit = (
            next(filter(None, map(_unfit, cells)), None) if device == "cpu" else f"it runs on a CPU, not on {device}"
        )
    if engine == "auto":
        if unfit is None:
            return "fused"
        if device == "cpu" and native.library() is None:
            warnings.warn(f"{unfit}: until then training is slower", stacklevel=2)
        expected = min(operations / SPEED[device], math.inf if seconds is None else seconds)
        fastest = kernels and (device != "cpu" or all(cell.library == "lstm" for cell in cells))
        return "library" if fastest else "compiled" if expected > WORTH_COMPILING else "deferred"
    if engine not in ENGINES:
        raise Refusal(f"trainer.engine={engine}: take auto, {', '.join(ENGINES)}")
    if engine == "library" and not kernels:
        raise Refusal(
            "trainer.engine=library: PyTorch has no kernel for this cell; "
            "take auto, fused, compiled, deferred or reference"
        )
    if engine == "fused" and unfit is not None:
        raise Refusal(f"trainer.engine=fused: {unfit}: take auto, compiled, deferred or reference")
    return engine


@torch.no_grad()
def _unfit(cell: Cell) -> str | None:
    """Why a cell cannot run fused, if so. Raises Refusal for one whose step cannot be recorded at all."""
    x = read(cell, cell.input_weight.new_zeros(1, 1, cell.inputs))
    state = tuple(cell.input_weight.new_zeros(1, width) for width in cell.state.values())
    training = cell.training
    try:
        step = record(
            cell.train(),
            {name: part[0] for name, part in x.items() if name not in cell.recurrent},
            cell.constants(1),
            state,
            1,
        )
        fused.FusedProgram(step, cell, 1, 1)
    except Unsupported as reason:
        return str(reason)
    except (AssertionError, RuntimeError, TypeError) as error:
        raise Refusal(
            f"the step of {type(cell).__name__} cannot be recorded "
            f"({str(error).splitlines()[0]}): take trainer.engine=reference"
        ) from error
    finally:
        cell.train(training)
    return None


def run(cell: Cell, x: Tensor, state: State, engine: str) -> tuple[Tensor, State]:
    """Inputs [T, B, D] or symbols [T, B] and the state before them
    -> outputs [T, B, H] and the state after, by `engine` of ENGINES."""
    if engine == "library":
        return _library(cell, x, state)
    moved = state[0].device.type != "cpu" or native.library() is None  # since its engine was chosen
    if engine == "fused" and (moved or cell.chosen_by and x.is_floating_point()):
        engine = "deferred"
    if engine == "fused" and not torch.is_grad_enabled():
        outputs = []
        for part in x.split(AT_ONCE):
            output, state = _by_program(cell, part, state, engine)
            outputs.append(output)
        return torch.cat(outputs), state
    if engine == "reference" or not torch.is_grad_enabled():
        return _reference(cell, x, state)
    if engine == "compiled" and not (_can_compile() and _compiled_is_right(cell, x, state)):
        engine = "deferred"
    return _by_program(cell, x, state, engine)


def _reference(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    by_step = {name: part.unbind(0) for name, part in addends(cell, x).items()}
    constants, weights, outputs = cell.constants(x.shape[1]), dict(cell.recurrent), []
    for t in range(len(x)):
        x_t = {name: part[t] for name, part in by_step.items()} | constants
        state = cell.step(x_t, state, lambda name, operand, x_t=x_t: cell.multiply(name, weights[name], operand, x_t))
        outputs.append(state[0])
    return torch.stack(outputs), state


def read(cell: Cell, x: Tensor) -> dict[str, Tensor]:
    """What the steps of a cell are given, [T, B, R] each: its projections of the inputs [T, B, D] or symbols [T, B],
    and with them, or alone, the biases of its products. Where there are fewer kinds of symbols than symbols,
    each kind is projected once."""
    if x.is_floating_point() or x.numel() <= cell.inputs + 1:
        given = dict(cell.project(x))
        for name, bias in cell.recurrent_bias.items():
            given[name] = given[name] + bias if name in given else bias.expand(*x.shape[:2], -1)
        return given
    every = read(cell, torch.arange(cell.inputs + 1, device=x.device)[:, None])
    return {
        name: F.embedding(x, part.squeeze(1)) if part.is_floating_point() else part[x, 0]
        for name, part in every.items()
    }


def addends(cell: Cell, x: Tensor) -> dict[str, Tensor]:
    """What the steps are given, zeros too where a product has nothing added: as `Cell.multiply` needs it."""
    given = read(cell, x)
    return given | {
        name: cell.input_weight.new_zeros(rows).expand(*x.shape[:2], -1)
        for name, (rows, _) in cell.products.items()
        if name not in given
    }


class _Steps(torch.autograd.Function):
    """The steps of a cell, forward and backward, by its program: added to products, other projections, constants, state
    and weights -> outputs [T, B, H], states after. Gradients of what is added and of other projections lie in the
    program's buffers, until its next pass, unless they have to be `lasting`."""

    @staticmethod
    def forward(ctx, lease: Lease, cell: Cell, keys: list[tuple[str, str | int]], lasting: bool, *tensors: Tensor):
        ctx.lease, ctx.cell, ctx.keys, ctx.lasting = lease, cell, keys, lasting
        program, given = lease.program, dict(zip(keys, tensors, strict=True))
        of = {
            kind: {name: part for (its, name), part in given.items() if its == kind}
            for kind in ("added", "x", "constant", "state", "weight")
        }
        steps = len(next(iter((of["added"] | of["x"]).values())))
        for name, buffer in program.xs.items():
            buffer[:steps].copy_(of["x"][name])
        for name, buffer in program.constants.items():
            buffer.copy_(of["constant"][name])
        for buffer, part in zip(program.states, of["state"].values(), strict=True):
            buffer[0].copy_(part)
        # What the products themselves read.
        ctx.read = {name: part for name, part in of["x"].items() if name not in program.xs}
        ctx.steps = steps
        program.forward(cell, of["weight"], steps, of["added"], ctx.read)
        ctx.save_for_backward(*of["weight"].values())  # whose change before the backward pass is an error
        return program.states[0][1 : steps + 1].clone(), *(part[steps].clone() for part in program.states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_outputs: Tensor, *d_states: Tensor):
        cell, program, steps = ctx.cell, ctx.lease.program, ctx.steps
        weights = dict(zip((name for kind, name in ctx.keys if kind == "weight"), ctx.saved_tensors, strict=True))
        program.backward(cell, weights, steps, d_outputs, d_states, ctx.read)
        gradients = {
            ("state", index): part.clone() for index, part in enumerate(after[1] for after in program.d_states)
        }
        gradients |= {("x", name): part[:steps] for name, part in program.d_xs.items()}
        gradients |= {("constant", name): part.clone() for name, part in program.d_constants.items()}
        for name, weight in weights.items():
            gradient, operand = program.d_results[name][:steps], program.operands[name][:steps]
            gradients["added", name] = gradient
            gradients["weight", name], more = cell.product_gradients(weight, gradient, operand, ctx.read)
            gradients |= {("x", other): part for other, part in more.items()}
        if ctx.lasting:
            gradients = {key: part.clone() for key, part in gradients.items()}
        return None, None, None, None, *(gradients.get(key) for key in ctx.keys)


def _by_program(cell: Cell, x: Tensor, state: State, engine: str) -> tuple[Tensor, State]:
    parts, constants, weights = read(cell, x), cell.constants(x.shape[1]), dict(cell.recurrent)
    added = {name: part for name, part in parts.items() if name in weights}
    xs = {name: part for name, part in parts.items() if name not in weights}
    given = {
        (kind, name): part
        for kind, parts in (
            ("added", added),
            ("x", xs),
            ("constant", constants),
            ("state", dict(enumerate(state))),
            ("weight", weights),
        )
        for name, part in parts.items()
    }
    lease = borrow(
        cell, {name: part[0] for name, part in xs.items() if part.is_floating_point()}, constants, state, len(x), engine
    )
    lasting = x.is_leaf and x.requires_grad  # its gradient may be one of a projection
    outputs, *after = _Steps.apply(lease, cell, list(given), lasting, *given.values())
    return outputs, tuple(after)


@functools.cache
def _can_compile() -> bool:
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


def _compiled_is_right(cell: Cell, x: Tensor, state: State) -> bool:
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
            outputs, after = _by_program(cell, x, state, engine)
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


def _library(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    """torch's own kernel on the cell's parameters."""
    if not x.is_floating_point():
        x = torch.eye(cell.inputs + 1, cell.inputs, dtype=cell.input_weight.dtype, device=x.device)[x]
    [(name, weight)] = cell.recurrent.items()
    bias = cell.recurrent_bias[name] if name in cell.recurrent_bias else torch.zeros_like(cell.input_bias)
    flat = [cell.input_weight, weight, cell.input_bias, bias]
    state = tuple(part.unsqueeze(0).contiguous() for part in state)
    outputs, *after = getattr(torch, cell.library)(
        x, state if cell.library == "lstm" else state[0], flat, True, 1, 0.0, cell.training, False, False
    )
    return outputs, tuple(part.squeeze(0) for part in after)
