"""Programs of cells, made once and lent to one pass after the other."""

import weakref

from torch import Tensor

from pipeline.cells.cell import Cell
from pipeline.recurrence.fused import FusedProgram
from pipeline.recurrence.schedule import Program, Step

KEPT = 4  # batch sizes of a cell whose programs are kept

_programs: weakref.WeakKeyDictionary[Cell, dict[tuple, tuple[Step, list[Program | FusedProgram]]]] = (
    weakref.WeakKeyDictionary()
)


class Lease:
    """A program for one forward pass and the backward passes that follow it;
    when the lease is gone its buffers serve others."""

    def __init__(self, program: Program | FusedProgram, free: list[Program | FusedProgram]):
        self.program, self.free = program, free

    def __del__(self):
        self.free.append(self.program)


def borrow(
    cell: Cell, xs: dict[str, Tensor], constants: dict[str, Tensor], state: tuple[Tensor, ...], steps: int, engine: str
) -> Lease:
    """A program for a cell whose step is given these (xs: other projections than those that are added to products), by
    the engine "fused", "compiled" or "deferred"."""
    known = _programs.setdefault(cell, {})
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
        known[key] = record(cell, xs, constants, state, 1 if engine == "fused" else len(state[0])), []
    step, free = known[key]
    program = free.pop() if free else None
    if program is None or program.capacity < steps:
        batch = len(state[0])
        program = (
            FusedProgram(step, cell, steps, batch)
            if engine == "fused"
            else Program(step, cell, steps, batch, engine == "compiled")
        )
    return Lease(program, free)


def record(
    cell: Cell, xs: dict[str, Tensor], constants: dict[str, Tensor], state: tuple[Tensor, ...], batch: int
) -> Step:
    """The step of a cell that is given parts like these, for so many of their sequences."""
    return Step(
        cell,
        {name: part[:batch] for name, part in xs.items()},
        {name: part[:batch] for name, part in constants.items()},
        tuple(part[:batch] for part in state),
    )
