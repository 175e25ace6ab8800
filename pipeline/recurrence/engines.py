"""The one loop over time that every cell shares.

Ways to run through T steps, equal to rounding:

reference  the plain differentiable loop. Any dtype; forward-mode and double differentiation.
fused      pointwise functions beside the products that they need (pipeline.recurrence.fused). On a CPU all steps are
           one call of steps.cpp, compiled when the project is installed: packed matrices, and strips that stay in the
           cache; threads share the batch. On a GPU they are Triton kernels, one a product, which are replayed as a
           CUDA graph: pipeline.recurrence.kernels.
deferred   on any device, for training: each step's operators in a straight line (pipeline.recurrence.deferred).
compiled   deferred, with what lies between two products compiled into one kernel (pipeline.recurrence.compiled).
library    torch's kernel (oneDNN, cuDNN), where the cell is exactly one that it ships (pipeline.recurrence.library).

fused, deferred and compiled make no autograd graph of the steps, and one product per weight matrix, after the backward
loop, gives its gradient. Without gradients deferred and compiled are the reference.

Shapes: T time, B batch, R rows and C columns of a product.
"""

import math
import warnings
from collections.abc import Collection

import torch
from torch import Tensor

from pipeline.cells.cell import Cell, State
from pipeline.cells.inputs import by_step, projections
from pipeline.command.refusal import Refusal
from pipeline.recurrence.columns import Unsupported
from pipeline.recurrence.compilable import can_compile, is_right
from pipeline.recurrence.fused import TAPES, FusedProgram
from pipeline.recurrence.library import by_library, in_torch
from pipeline.recurrence.linearized import linearized
from pipeline.recurrence.passes import by_program
from pipeline.recurrence.step import Step
from pipeline.recurrence.tape import Tape

ENGINES = ("reference", "fused", "deferred", "compiled", "library")
AT_ONCE = 256  # steps of a part of a pass without gradients, so that long ones need no more memory

# Compiling costs 5 to 15 s and saves about a tenth of a run: worth it from 100 s on.
WORTH_COMPILING = 100.0
SMALL = 128  # hidden units up to which cuDNN's kernels take less time than ours, which wait for Python then
# Operations a second, of a core and of a GPU.
SPEED = {"cpu": 4e10, "cuda": 4e12}
# What a step through time is worth at least: launching a GPU's kernels takes 0.1 ms, forward and backward.
LEAST = {"cpu": 0.0, "cuda": 4e8}


def choose_engine(
    engine: str, cells: Collection[Cell], device: str, operations: float = 0.0, seconds: float | None = None
) -> str:
    """The engine that "auto" stands for; any other stays.

    Fused, where the cell can be run so: it is faster than PyTorch's own kernels, but for layers of up to SMALL units on
    a GPU. There, and else, library for the cells that cuDNN has, on a CPU for LSTM. Else compiled, where the run is
    long enough to earn the compilation back, else deferred. Where steps.cpp was not compiled, or there is no Triton, a
    warning says so.

    operations  floating-point operations that the whole run will take, 0 if no training follows
    seconds     its budget, if it has one
    Raises Refusal for an engine that does not exist or that a cell does not have.
    """
    shipped = all(map(in_torch, cells))
    unfit = None
    if engine in ("auto", "fused"):
        unfit = next(filter(None, (_unfit(cell, TAPES[device]) for cell in cells)), None)
    if engine == "auto":
        if unfit is None and not (device == "cuda" and shipped and max(cell.hidden for cell in cells) <= SMALL):
            return "fused"
        if unfit is not None and not TAPES[device].is_here():
            warnings.warn(f"{unfit}: until then training is slower", stacklevel=2)
        expected = min(operations / SPEED[device], math.inf if seconds is None else seconds)
        fastest = shipped and (device != "cpu" or all(in_torch(cell) == "lstm" for cell in cells))
        return "library" if fastest else "compiled" if expected > WORTH_COMPILING else "deferred"
    if engine not in ENGINES:
        raise Refusal(f"trainer.engine={engine}: take auto, {', '.join(ENGINES)}")
    if engine == "library" and not shipped:
        raise Refusal(
            "trainer.engine=library: PyTorch has no kernel for this cell; "
            "take auto, fused, compiled, deferred or reference"
        )
    if engine == "fused" and unfit is not None:
        raise Refusal(f"trainer.engine=fused: {unfit}: take auto, compiled, deferred or reference")
    return engine


@torch.no_grad()
def _unfit(cell: Cell, tape: type[Tape]) -> str | None:
    """Why a cell cannot run fused by such a tape, if so. Raises Refusal for one whose step cannot be traced at all."""
    x = projections(cell, cell.input_weight.new_zeros(1, 1, cell.inputs))
    xs = {name: part[0] for name, part in x.items() if name not in cell.recurrent}
    state = tuple(cell.input_weight.new_zeros(1, width) for width in cell.state.values())
    training = cell.training
    try:
        FusedProgram(Step(cell.train(), xs, cell.constants(1), state, 1), cell, 1, 1, tape)
    except Unsupported as reason:
        return str(reason)
    except (AssertionError, RuntimeError, TypeError) as error:
        raise Refusal(
            f"the step of {type(cell).__name__} cannot be traced "
            f"({str(error).splitlines()[0]}): take trainer.engine=reference"
        ) from error
    finally:
        cell.train(training)
    return None


def run(
    cell: Cell,
    x: Tensor,
    state: State,
    engine: str,
    linear: bool = False,
    recurrent: dict[str, Tensor] | None = None,
) -> tuple[Tensor, State]:
    """Inputs [T, B, D] or symbols [T, B] and the state before them
    -> outputs [T, B, H] and the state after, by `engine` of ENGINES.

    recurrent  the matrices of the products, None: the cell's own
    linear  for products with the Jacobian and its transpose: pipeline.recurrence.linearized, by `engine` where it has
            programs, else by deferred
    """
    recurrent = dict(cell.recurrent) if recurrent is None else recurrent
    if linear:
        return linearized(
            cell, x, state, recurrent, "fused" if engine == "fused" and _runs_fused(cell, x, state) else "deferred"
        )
    if engine == "library":
        return by_library(cell, x, state, recurrent)
    if engine == "fused" and not _runs_fused(cell, x, state):
        engine = "deferred"
    if engine == "fused" and not torch.is_grad_enabled():
        outputs = []
        for part in x.split(AT_ONCE):
            output, state = by_program(cell, part, state, recurrent, engine)
            outputs.append(output)
        return torch.cat(outputs), state
    if engine == "reference" or not torch.is_grad_enabled():
        return _reference(cell, x, state, recurrent)
    if engine == "compiled" and not (can_compile(x.device.type) and is_right("compiled", cell, x, state)):
        engine = "deferred"
    return by_program(cell, x, state, recurrent, engine)


def _runs_fused(cell: Cell, x: Tensor, state: State) -> bool:
    if cell.chosen and x.is_floating_point():
        return False
    device = state[0].device.type  # to which it may have moved since its engine was chosen
    return device in TAPES and TAPES[device].is_here() and (device == "cpu" or is_right("fused", cell, x, state))


def memory_cells(cell: Cell, x: Tensor, state: State) -> dict[str, Tensor]:
    """Inputs [T, B, D] or symbols [T, B] and the state before them -> the gates of every step, as Cell.gate_values
    names them, and after it "c", the memory cell's content, and "h", its output, [T, B, H] each; nothing of a cell
    without."""
    found = []
    for given, product in by_step(cell, x, dict(cell.recurrent)):
        gates, state = cell.gate_values(given, state, product), cell.step(given, state, product)
        found.append(gates | {name: part for name, part in zip(cell.state, state) if gates and name in ("c", "h")})
    return {name: torch.stack([one[name] for one in found]) for name in found[0]}


def _reference(cell: Cell, x: Tensor, state: State, recurrent: dict[str, Tensor]) -> tuple[Tensor, State]:
    outputs = []
    for given, product in by_step(cell, x, recurrent):
        state = cell.step(given, state, product)
        outputs.append(state[0])
    return torch.stack(outputs), state
