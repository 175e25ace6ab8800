"""What steps.cpp runs: works on places, products and stages of instructions, as arrays of 64-bit words."""

import copy
import math
import struct
from collections import defaultdict
from collections.abc import Collection, Hashable
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.recurrence import native
from pipeline.recurrence.columns import ADD, SCALE, Columns, Instruction, Unsupported

PRODUCT, STAGE = range(2)
# Parts below NARROW columns in a stage of WIDE and more are slower than the operators by themselves.
NARROW, WIDE = 8, 64


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


class Work(NamedTuple):
    """A product, with places, rows and columns of its matrix and how many matrices there are;
    or a stage, with its instructions."""

    kind: int
    operand: int = -1
    added: int = -1
    result: int = -1
    packed: int = -1
    rows: int = 0
    columns: int = 0
    choice: int = -1
    first: int = 0
    count: int = 0
    width: int = 0


class Tape:
    """Lines of works, written once, and the tensors that they work on.

    tensors  name -> tensor; one may be put in another's place between two runs: `bind`
    packed   name -> matrix as products read it
    located  first column of a value -> its place; values without one stay in registers
    """

    def __init__(self, columns: Columns, dtype: torch.dtype):
        self.columns, self.dtype = columns, dtype
        self.tensors: dict[Hashable, Tensor] = {}
        self.located: dict[int, Place] = {}
        self.packed: dict[Hashable, Tensor] = {}
        self.registers = 0
        self.lines: dict[str, list[Work]] = {}
        self._firsts = torch.tensor([value.first for value in columns.values])
        self._places: dict[Place, int] = {}
        self._instructions: list[list[int]] = []

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
        self.packed[matrix] = native.panels(shape, self.dtype, count)
        parts = (operand, added, result, Place(matrix))
        places = [-1 if part is None else self._place(part) for part in parts]
        chosen = -1 if choice is None else self._place(choice)
        self.lines.setdefault(line, []).append(Work(PRODUCT, *places, *shape, chosen, count=count))

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

    def pack(self, name: Hashable, matrix: Tensor) -> None:
        """Takes over a matrix, or the matrices [count, N, K], as they are now."""
        if matrix.dtype != self.dtype:
            raise TypeError(f"{name}: {matrix.dtype} among {self.dtype}")
        native.pack(matrix if matrix.dim() == 3 else matrix[None], self.packed[name])

    def ready(self) -> None:
        """To be called once all is written."""
        longest = max((work.width for works in self.lines.values() for work in works), default=1)
        for index, number in enumerate(self.columns.numbers):
            self.tensors["number", index] = _the_same_for_all(torch.full((longest,), number, dtype=self.dtype))
        self.tensors |= {name: _the_same_for_all(packed) for name, packed in self.packed.items()}
        self._of_name: dict[Hashable, list[tuple[int, Place]]] = defaultdict(list)
        for place, index in self._places.items():
            self._of_name[place.tensor].append((index, place))
        self._table = torch.zeros(len(self._places), 5, dtype=torch.long)
        self._instruction_table = torch.tensor(self._instructions, dtype=torch.long).view(-1, 6)
        self._line_tables = {line: torch.tensor(works, dtype=torch.long) for line, works in self.lines.items()}
        for name, tensor in list(self.tensors.items()):
            self.bind(name, tensor)

    def bind(self, name: Hashable, tensor: Tensor) -> None:
        """`tensor` under this name from now on, of the tape's dtype,
        or int64 where rows choose a matrix; its rows must be dense."""
        if tensor.dtype not in (self.dtype, torch.int64):
            raise TypeError(f"{name}: {tensor.dtype} among {self.dtype}")
        self.tensors[name] = tensor
        address, size, strides, table = tensor.data_ptr(), tensor.element_size(), tensor.stride(), self._table.numpy()
        for index, place in self._of_name[name]:
            step, row = (strides[0], strides[1]) if place.timed else (0, strides[0])
            table[index] = (
                address + place.column * size,
                step * size,
                row * size,
                place.shift,
                1 if place.parity else -1,
            )

    def release(self, name: Hashable) -> None:
        """What is bound to the name is needed no more."""
        del self.tensors[name]

    def again(self) -> "Tape":
        """The same lines, for tensors of their own: all must be bound and all matrices packed."""
        other = copy.copy(self)
        other.tensors, other._table = dict(self.tensors), self._table.clone()
        other.packed = {name: torch.empty_like(packed) for name, packed in self.packed.items()}
        for name, packed in other.packed.items():
            other.bind(name, _the_same_for_all(packed))
        return other

    def run(self, line: str, start: int, steps: int, stride: int, batch: int) -> None:
        """Does a line at time steps start, start + stride, ..., for every row of the batch."""
        native.run(
            self.dtype,
            self._table,
            self._line_tables[line],
            self._instruction_table,
            self.registers,
            start,
            steps,
            stride,
            batch,
        )

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
        if (
            0
            < width
            < NARROW
            <= WIDE
            <= max(len(one.columns) if isinstance(one, Move) else one.out.width for one in ones)
        ):
            raise Unsupported(f"parts of {width} columns among many in a step")
        written: list[tuple[int, Place | int, list[Place | int], float]] = []
        for one in ones:
            move = isinstance(one, Move)
            for at in range(0, len(one.columns) if move else one.out.width, width):
                if move:
                    to, part = one.to.right(at), self._part(one.columns, at)
                    written.append((ADD, to, [to, part], 1.0) if one.add else (SCALE, to, [part], 1.0))
                else:
                    out = self.located.get(one.out.first)
                    out = one.out.first + at if out is None else out.right(at)
                    written.append((one.code, out, [self._part(operand, at) for operand in one.operands], one.scalar))
        if written:
            self.lines.setdefault(line, []).append(
                Work(STAGE, first=len(self._instructions), count=len(written), width=width)
            )
            self._write(written)

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

    def _place(self, place: Place) -> int:
        return self._places.setdefault(place, len(self._places))

    def _write(self, written: list[tuple[int, Place | int, list[Place | int], float]]) -> None:
        """Gives registers to what is in no place, each free again after its last use."""
        last = {
            part: index
            for index, (_, _, operands, _) in enumerate(written)
            for part in operands
            if isinstance(part, int)
        }
        registers: dict[int, int] = {}
        free: list[int] = []

        def word(part: Place | int) -> int:
            return ~registers[part] if isinstance(part, int) else self._place(part)

        for index, (code, out, operands, scalar) in enumerate(written):
            words = [word(part) for part in operands]
            free += [registers[part] for part in set(operands) if isinstance(part, int) and last[part] == index]
            if isinstance(out, int):
                registers[out] = free.pop() if free else self.registers
                self.registers = max(self.registers, registers[out] + 1)
            words += words[:1] * (3 - len(words))  # any readable place
            self._instructions.append([code, word(out), *words, struct.unpack("q", struct.pack("d", scalar))[0]])


def _the_same_for_all(tensor: Tensor) -> Tensor:
    """Rows that all lie in the same place."""
    return tensor.view(1, -1).expand(2, -1)
