"""A cell's steps as a program that runs by itself: one call of steps.cpp goes through all time steps,
forward or backward."""

from collections.abc import Hashable, Iterator

import torch
from torch import Tensor
from torch.fx import Node

from pipeline.cells.cell import Cell
from pipeline.cells.matrices import Matrix
from pipeline.recurrence.columns import Columns
from pipeline.recurrence.kernels import Kernels
from pipeline.recurrence.program import Program
from pipeline.recurrence.step import Stage, Step
from pipeline.recurrence.tables import Tables
from pipeline.recurrence.tape import Move, Place, Tape

TAPES = {"cpu": Tables, "cuda": Kernels}  # by the type of a device


class FusedProgram(Program):
    """Up to `capacity` steps of a cell as two lines of a tape.

    Raises Unsupported for a cell whose step does what steps.cpp has no instruction for, or whose type of numbers it has
    not.
    """

    def __init__(self, step: Step, cell: Cell, capacity: int, batch: int, tape: type[Tape] | None = None):
        super().__init__(step, cell, capacity, batch)
        columns = Columns(step.graph)
        d_output = columns.given(self.states[0].shape[-1])
        self.tape = tape = (tape or TAPES[self.new["device"].type])(columns, self.new["dtype"])
        tape.located[int(d_output[0])] = Place("d output", timed=True)
        stage_of = {node: stage for stage, nodes in step.stages.items() for node in nodes}
        made = {one.out.first: stage_of[one.node] for one in columns.instructions}
        instructions = {
            stage: [one for one in columns.instructions if stage_of[one.node] == stage] for stage in step.stages
        }

        # Outputs are made where they belong, or moved there at the end of their stage.
        moves: dict[Stage, list[Move]] = {stage: [] for stage in step.stages}
        for stage, row, to, add in self._outputs(columns):
            for move in tape.moves(row, to, add):
                first = int(move.columns[0])
                if (
                    not add
                    and first in made
                    and first not in tape.located
                    and len(move.columns) == columns.value(first).width
                ):
                    tape.located[first] = move.to
                else:
                    moves[stage].append(move)

        # What one stage makes and another one reads has a place of its own,
        # one at every step if a backward stage reads it.
        readers = tape.readers(instructions, moves)

        def intermediate(name: Hashable, first: int, timed: bool) -> None:
            tape.tensors[name] = torch.zeros(*[capacity] * timed, batch, columns.value(first).width, **self.new)
            tape.located[first] = Place(name, timed=timed)

        def kept(first: int) -> bool:
            return any(direction == "backward" for direction, _ in readers[first])

        for first, stage in made.items():
            if first not in tape.located and readers[first] - {stage}:
                intermediate(("value", first), first, timed=stage[0] == "forward" and kept(first))
        for (kind, name), node in step.inputs.items():
            first = int(columns.row(node)[0])
            if kind == "result":
                intermediate((kind, name), first, timed=kept(first))
            else:
                tape.located[first] = Place(
                    (kind, name), timed=kind in ("x", "state", "d state"), parity=kind == "d state"
                )
        for kind, tensors in (
            ("x", self.xs),
            ("constant", self.constants),
            ("state", dict(enumerate(self.states))),
            ("operand", self.operands),
            ("d result", self.d_results),
            ("d operand", self.d_operands),
            ("d x", self.d_xs),
            ("d constant", self.d_constants),
            ("d state", dict(enumerate(self.d_states))),
        ):
            tape.tensors |= {(kind, name): tensor for name, tensor in tensors.items()}

        last = len(step.names)
        choice = {name: (Place("choice", timed=True), cell.inputs) for name in cell.chosen}
        tape.stage("forward", instructions["forward", 0], after=moves["forward", 0])
        for k, name in enumerate(step.names):
            tape.product(
                "forward",
                Place(("operand", name), timed=True),
                Place(("added", name), timed=True),
                tape.place(columns.row(step.inputs["result", name])),
                ("matrix", name),
                cell.products[name],
                *choice.get(name, ()),
            )
            tape.stage("forward", instructions["forward", k + 1], after=moves["forward", k + 1])
        enter = [Move(Place(("d state", 0), timed=True, parity=True), d_output, add=True)]
        tape.stage("backward", instructions["backward", last], before=enter, after=moves["backward", last])
        for k, name in reversed(list(enumerate(step.names))):
            tape.product(
                "backward",
                Place(("d result", name), timed=True),
                None,
                Place(("d operand", name)),
                ("transposed", name),
                cell.products[name][::-1],
                *choice.get(name, ()),
            )
            tape.stage("backward", instructions["backward", k], after=moves["backward", k])
        tape.ready()

    def _outputs(self, columns: Columns) -> Iterator[tuple[Stage, Tensor, Place, bool]]:
        """Stage after which an output is there, its columns, its place, and whether it is added to what is there."""
        names, last = self.step.names, len(self.step.names)

        def row(node: Node | None, like: Tensor) -> Tensor:
            return columns.row(node) if node is not None else torch.zeros(like.shape[-1], dtype=torch.long)

        for (kind, name), node in self.step.outputs.items():
            if kind == "operand":
                if not self.is_state(name):
                    yield ("forward", names.index(name)), columns.row(node), Place((kind, name), timed=True), False
            elif kind == "state":
                yield ("forward", last), columns.row(node), Place((kind, name), timed=True, shift=1), False
            elif kind == "d result":
                yield (
                    ("backward", names.index(name) + 1),
                    row(node, self.d_results[name]),
                    Place((kind, name), timed=True),
                    False,
                )
            elif kind == "d state":
                yield (
                    ("backward", 0),
                    row(node, self.states[name]),
                    Place((kind, name), timed=True, shift=1, parity=True),
                    False,
                )
            elif node is not None:
                yield ("backward", 0), columns.row(node), Place((kind, name), timed=kind == "d x"), kind == "d constant"

    def forward(
        self, cell: Cell, weights: dict[str, Tensor], steps: int, added: dict[str, Tensor], inputs: Tensor
    ) -> None:
        for name, weight in weights.items():
            self.tape.pack(("matrix", name), weight)
            if name in added:
                what = added[name]
                self.tape.bind(("added", name), what if what.stride(-1) == 1 else what.contiguous())
            else:
                self.tape.bind_zeros(("added", name), steps, self.batch, weight.shape[-2])
        if cell.chosen:
            self.tape.bind_choice("choice", inputs.long(), cell.inputs)  # for the backward pass, too
        self.tape.run("forward", 0, steps, 1, self.batch)
        for name in weights:
            self.tape.release(("added", name))

    def backward(
        self,
        cell: Cell,
        weights: dict[str, Tensor],
        steps: int,
        d_outputs: Tensor,
        d_states: tuple[Tensor | None, ...],
        inputs: Tensor,
    ) -> None:
        for name, weight in weights.items():
            self.tape.pack(("transposed", name), weight.mT)
        self.enter_backward(steps, d_states)
        self.tape.bind("d output", d_outputs if d_outputs.stride(-1) == 1 else d_outputs.contiguous())
        self.tape.run("backward", steps - 1, steps, -1, self.batch)
        self.tape.release("d output")

    def gradients(
        self, matrix: Matrix, gradient: Tensor, operand: Tensor, inputs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        return self.tape.gradients(matrix, gradient, operand, inputs)
