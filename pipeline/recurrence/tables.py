"""A tape as steps.cpp reads it: places, works and instructions as arrays of 64-bit words."""

import copy
import struct
from collections import defaultdict
from collections.abc import Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.recurrence import native
from pipeline.recurrence.columns import Columns, Unsupported
from pipeline.recurrence.tape import Place, Product, Stage, Tape, Written

PRODUCT, STAGE = range(2)
# Parts below NARROW columns in a stage of WIDE and more are slower than the operators by themselves.
NARROW, WIDE = 8, 64


class Words(NamedTuple):
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


class Tables(Tape):
    """A tape that steps.cpp runs on a CPU.

    packed   name -> matrix as products read it
    Raises Unsupported where steps.cpp cannot run it, and once it is ready where that would be slow.
    """

    def __init__(self, columns: Columns, dtype: torch.dtype):
        native.refuse(dtype)
        super().__init__(columns, dtype)
        self.packed: dict[Hashable, Tensor] = {}
        self.registers = 0
        self._places: dict[Place, int] = {}
        self._instructions: list[list[int]] = []

    @staticmethod
    def is_here() -> bool:
        return native.library() is not None

    def pack(self, name: Hashable, matrix: Tensor) -> None:
        """Takes over a matrix, or the matrices [count, N, K], as they are now."""
        if matrix.dtype != self.dtype:
            raise TypeError(f"{name}: {matrix.dtype} among {self.dtype}")
        native.pack(matrix if matrix.dim() == 3 else matrix[None], self.packed[name])

    def ready(self) -> None:
        words = {line: [self._words(work) for work in works] for line, works in self.lines.items()}
        longest = max((work.width for works in words.values() for work in works), default=1)
        for index, number in enumerate(self.columns.numbers):
            self.tensors["number", index] = _the_same_for_all(torch.full((longest,), number, dtype=self.dtype))
        self.tensors |= {name: _the_same_for_all(packed) for name, packed in self.packed.items()}
        self._of_name: dict[Hashable, list[tuple[int, Place]]] = defaultdict(list)
        for place, index in self._places.items():
            self._of_name[place.tensor].append((index, place))
        self._table = torch.zeros(len(self._places), 5, dtype=torch.long)
        self._instruction_table = torch.tensor(self._instructions, dtype=torch.long).view(-1, 6)
        self._line_tables = {line: torch.tensor(works, dtype=torch.long) for line, works in words.items()}
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

    def bind_zeros(self, name: Hashable, steps: int, batch: int, width: int) -> None:
        self.bind(name, torch.zeros(width, dtype=self.dtype).expand(steps, batch, -1))

    def again(self) -> "Tables":
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

    def _words(self, work: Product | Stage) -> Words:
        if isinstance(work, Stage):
            if work.width < NARROW <= WIDE <= work.widest:
                raise Unsupported(f"parts of {work.width} columns among many in a step")
            first = len(self._instructions)
            self._write(work.written)
            return Words(STAGE, first=first, count=len(work.written), width=work.width)
        self.packed[work.matrix] = native.panels(work.shape, self.dtype, work.count)
        parts = (work.operand, work.added, work.result, Place(work.matrix))
        places = [-1 if part is None else self._place(part) for part in parts]
        chosen = -1 if work.choice is None else self._place(work.choice)
        return Words(PRODUCT, *places, *work.shape, chosen, count=work.count)

    def _place(self, place: Place) -> int:
        return self._places.setdefault(place, len(self._places))

    def _write(self, written: list[Written]) -> None:
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
