"""Programs of cells, made once and lent to one pass after the other."""

import weakref

from torch import Tensor

from pipeline.cells.cell import Cell, State
from pipeline.recurrence.compiled import CompiledProgram
from pipeline.recurrence.deferred import DeferredProgram
from pipeline.recurrence.fused import FusedProgram
from pipeline.recurrence.program import Program
from pipeline.recurrence.step import Step

PROGRAMS = {"fused": FusedProgram, "deferred": DeferredProgram, "compiled": CompiledProgram}
KEPT = 4  # batch sizes of a cell whose programs are kept

_programs: weakref.WeakKeyDictionary[Cell, dict[tuple, tuple[Step, list[Program]]]] = weakref.WeakKeyDictionary()


class Lease:
    """A program for one forward pass and the backward passes that follow it;
    when the lease is gone its buffers serve others."""

    def __init__(self, program: Program, free: list[Program]):
        self.program, self.free = program, free

    def __del__(self):
        self.free.append(self.program)


def borrow(
    cell: Cell, xs: dict[str, Tensor], constants: dict[str, Tensor], state: State, steps: int, engine: str
) -> Lease:
    """A program for a cell whose step is given these (xs: projections that are not added to products), by an engine of
    PROGRAMS."""
    known = _programs.setdefault(cell, {})
    batch = len(state[0])
    key = (
        engine,
        cell.training,
        state[0].shape,
        state[0].dtype,
        state[0].device,
        *((name, part.shape) for name, part in xs.items()),
    )
    if key not in known:
        while len(known) >= KEPT:
            del known[next(iter(known))]
        known[key] = Step(cell, xs, constants, state, 1 if engine == "fused" else batch), []
    step, free = known[key]
    program = free.pop() if free else None
    if program is None or program.capacity < steps:
        program = PROGRAMS[engine](step, cell, steps, batch)
    return Lease(program, free)
