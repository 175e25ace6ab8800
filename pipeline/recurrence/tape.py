"""What a step of a cell does, as lines of works, products and stages of instructions, on places: neutral to what runs
them. pipeline.recurrence.tables writes them for steps.cpp, pipeline.recurrence.kernels as Triton kernels."""

import math
from collections import defaultdict
from collections.abc import Collection, Hashable
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.cells.matrices import Matrix
from pipeline.recurrence.columns import ADD, SCALE, Columns, Instruction


class Place(NamedTuple):
    """Columns from `column` on of the tensor called `tensor`: [B, ...],
    or at time step t its part t + shift [T, B, ...] (parity: of two)."""

    tensor: Hashable
    column: int = 0
    timed: bool = False
    shift: int = 0
    parity: bool = False

    def right(self, columns: int) -> "Place":
        return self._replace(column=self.column + columns)


class Move(NamedTuple):
    """columns [width] -> copied to the place, or added to what is there."""

    to: Place
    columns: Tensor
    add: bool = False


class Product(NamedTuple):
    """result = added + operand matrix^T, of a matrix [N, K], or of the one of `count` that a row's choice names."""

    operand: Place
    added: Place | None
    result: Place
    matrix: Hashable
    shape: tuple[int, int]
    choice: Place | None = None
    count: int = 1


class Written(NamedTuple):
    """An instruction on `width` columns, each from a place on or in the register of a column."""

    code: int
    out: Place | int
    operands: list[Place | int]
    scalar: float


class Stage(NamedTuple):
    """Instructions, one after the other, on parts of `width` columns of values of up to `widest`."""

    width: int
    widest: int
    written: list[Written]


Work = Product | Stage


class Tape:
    """Lines of works, written once, and the tensors that they work on.

    tensors  name -> tensor; one may be put in another's place between two runs: `bind`
    located  first column of a value -> its place; values without one stay in registers
    lines    name -> its works, in their order
    """

    def __init__(self, columns: Columns, dtype: torch.dtype):
        self.columns, self.dtype = columns, dtype
        self.tensors: dict[Hashable, Tensor] = {}
        self.located: dict[int, Place] = {}
        self.lines: dict[str, list[Work]] = {}
        self._firsts = torch.tensor([value.first for value in columns.values])

    def moves(self, columns: Tensor, to: Place, add: bool = False) -> list[Move]:
        """What brings columns together in a place."""
        parts = self.runs(columns)
        return [Move(to.right(at), part, add) for at, part in zip(accumulate(map(len, parts), initial=0), parts)]

    def readers(
        self, instructions: dict[Hashable, list[Instruction]], moves: dict[Hashable, list[Move]]
    ) -> dict[int, set]:
        """First column of a value -> the stages that read it."""
        found: dict[int, set] = defaultdict(set)
        for stage in instructions:
            for row in [row for one in instructions[stage] for row in one.operands] + [
                move.columns for move in moves[stage]
            ]:
                for part in (part for part in self.runs(row) if part[0] > 0):
                    found[self.columns.value(int(part[0])).first].add(stage)
        return found

    def place(self, columns: Tensor) -> Place:
        """Where columns of one value are."""
        value = self.columns.value(int(columns[0]))
        return self.located[value.first].right(int(columns[0]) - value.first)

    def product(
        self,
        line: str,
        operand: Place,
        added: Place | None,
        result: Place,
        matrix: Hashable,
        shape: tuple[int, int],
        choice: Place | None = None,
        count: int = 1,
    ) -> None:
        """result = added + operand matrix^T, of a matrix [N, K] that `pack` puts in its place, or of the one of `count`
        that a row's choice names."""
        self.lines.setdefault(line, []).append(Product(operand, added, result, matrix, shape, choice, count))

    def stage(
        self, line: str, instructions: list[Instruction], before: Collection[Move] = (), after: Collection[Move] = ()
    ) -> None:
        """Instructions, and what is moved before and after them."""
        inside, outside = [], []
        for one in after:
            (
                inside
                if any(part[0] > 0 and not self._is_located(part) for part in self.runs(one.columns))
                else outside
            ).append(one)
        self._work(line, [*before, *instructions, *inside])
        for one in outside:
            self._work(line, [one])  # in its own width

    @staticmethod
    def is_here() -> bool:
        """Whether what runs such tapes is installed."""
        raise NotImplementedError

    def pack(self, name: Hashable, matrix: Tensor) -> None:
        """Takes over a matrix [N, K], or the matrices [count, N, K], as they are now."""
        raise NotImplementedError

    def ready(self) -> None:
        """To be called once all is written."""
        raise NotImplementedError

    def bind(self, name: Hashable, tensor: Tensor) -> None:
        """`tensor` under this name from now on, of the tape's dtype,
        or int64 where rows choose a matrix; its rows must be dense."""
        raise NotImplementedError

    def bind_choice(self, name: Hashable, symbols: Tensor, count: int) -> None:
        """Which of `count` matrices each row chooses at every step [T, B], under this name from now on: 0 .. count - 1,
        more for none of them."""
        self.bind(name, symbols)

    def gradients(self, matrix: Matrix, gradient: Tensor, operand: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """After the line of the backward pass, from what it worked on: pipeline.cells.matrices.Matrix.gradients."""
        return matrix.gradients(gradient, operand, x)

    def bind_zeros(self, name: Hashable, steps: int, batch: int, width: int) -> None:
        """Zeros [steps, batch, width] under this name from now on."""
        raise NotImplementedError

    def release(self, name: Hashable) -> None:
        """What is bound to the name is needed no more."""
        del self.tensors[name]

    def run(self, line: str, start: int, steps: int, stride: int, batch: int) -> None:
        """Does a line at time steps start, start + stride, ..., for every row of the batch."""
        raise NotImplementedError

    def runs(self, columns: Tensor) -> list[Tensor]:
        """Columns cut into parts that each lie in one value, or are one number."""
        ends = [*self._breaks(columns).tolist(), len(columns)]
        return [columns[begin:end] for begin, end in zip([0, *ends], ends) if end > begin]

    def _breaks(self, columns: Tensor) -> Tensor:
        values = torch.searchsorted(self._firsts, columns.contiguous(), right=True)
        follows = torch.where(columns[1:] > 0, (columns.diff() == 1) & (values.diff() == 0), columns.diff() == 0)
        return (~follows).nonzero().flatten() + 1

    def _is_located(self, columns: Tensor) -> bool:
        return self.columns.value(int(columns[0])).first in self.located

    def _work(self, line: str, ones: list[Instruction | Move]) -> None:
        width = self._unit(ones)
        written: list[Written] = []
        for one in ones:
            move = isinstance(one, Move)
            for at in range(0, len(one.columns) if move else one.out.width, width):
                if move:
                    to, part = one.to.right(at), self._part(one.columns, at)
                    written.append(Written(ADD, to, [to, part], 1.0) if one.add else Written(SCALE, to, [part], 1.0))
                else:
                    out = self.located.get(one.out.first)
                    out = one.out.first + at if out is None else out.right(at)
                    parts = [self._part(operand, at) for operand in one.operands]
                    written.append(Written(one.code, out, parts, one.scalar))
        if written:
            widest = max(len(one.columns) if isinstance(one, Move) else one.out.width for one in ones)
            self.lines.setdefault(line, []).append(Stage(width, widest, written))

    def _unit(self, ones: list[Instruction | Move]) -> int:
        """The most columns that all can take at a time: no operand's part may reach over two values,
        or over two parts of one."""
        width = 0
        for one in ones:
            operands = [one.columns] if isinstance(one, Move) else one.operands
            width = math.gcd(width, *map(len, operands))
            for part in [part for columns in operands for part in self.runs(columns)]:
                first = int(part[0])
                inside = first - self.columns.value(first).first if first > 0 else 0
                width = math.gcd(width, len(part), inside)
        return width

    def _part(self, columns: Tensor, at: int) -> Place | int:
        """Where an operand's part from `at` on is: in a place, or in the register of a column."""
        first = int(columns[at])
        if first <= 0:
            return Place(("number", -first))
        return self.place(columns[at:]) if self._is_located(columns[at:]) else first
