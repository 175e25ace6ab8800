"""A tape as Triton kernels: each product with the stages around it in registers, and a whole pass as one CUDA graph.

A kernel works on tiles of the batch and of the hidden units: it multiplies, and with the sums still in registers does
the pointwise functions that follow, those of the next step included where they need nothing of other tiles. Where rows
of the batch choose their matrices, a tile takes rows that chose the same: they are sorted by it, for all steps at once.

Shapes: T time, B batch, N rows and K columns of a matrix, S matrices among which a row of the batch chooses by its
symbol.
"""

import functools
import hashlib
import importlib.util
import linecache
import math
from collections.abc import Hashable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.cells.matrices import ChosenMatrix, Matrix
from pipeline.recurrence.columns import Columns, Unsupported
from pipeline.recurrence.graphs import Replayed
from pipeline.recurrence.precision import matmul_precision
from pipeline.recurrence.tape import Place, Product, Stage, Tape, Work, Written

# How Triton multiplies for a pipeline.recurrence.precision: float32 in three products of tf32, which err no more than
# float32's own rounding and take a fifth of the time.
DOT = {"ieee": "tf32x3", "tf32": "tf32", "bf16": "ieee"}
BLOCKS = 8  # of a tile's sums side by side in registers
KEPT = 64  # passes of other lengths or directions that are kept as graphs

# By code of pipeline.recurrence.columns
EXPRESSIONS = (
    "{s} * {a}",
    "{a} + {s} * {b}",
    "{a} * {b}",
    "{a} + {s} * {b} * {c}",
    "{a} + {c} * ({b} - {a})",
    "sigmoid({a})",
    "tanh({a}, ACC)",
    "tl.where({a} < 0, 0.0, {a})",  # NaN stays
    "{a} * (1 - {b}) * {b}",
    "{a} * (1 - {b} * {b})",
    "tl.where({b} <= 0, 0.0, {a})",
)

HEAD = '''"""Made by pipeline.recurrence.kernels."""
import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1 + e)


@triton.jit
def tanh(x, ACC: tl.constexpr):
    # With few digits left of e^-2|x| - 1 near 0, the series there.
    near: tl.constexpr = 0.2 if ACC == tl.float32 else 0.01
    e = tl.exp(-2 * tl.abs(x))
    far = (1 - e) / (1 + e)
    y = x * x
    series = x * (1 + y * (-1 / 3 + y * (2 / 15 + y * (-17 / 315 + y * 62 / 2835))))
    return tl.where(tl.abs(x) < near, series, tl.where(x < 0, -far, far))


'''
STEP = '@triton.jit(do_not_specialize=["t", "more"])\n'
# The gradients of matrices that were chosen, OUT [S, N, K]: of symbol s, the sum of g a^T over the rows that chose it,
# of G [T B, N] and A [T B, K], whose rows lie GS and AS numbers apart. ORDER and STARTS are those of sorted_by_choice.
BY_CHOICE = """
@triton.jit
def kernel(G, GS, A, AS, ORDER, STARTS, OUT, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
           PRECISION: tl.constexpr, OPERAND: tl.constexpr, ACC: tl.constexpr):
    s = tl.program_id(0)
    n = tl.program_id(1) * BM + tl.arange(0, BM)
    k = tl.program_id(2) * BN + tl.arange(0, BN)
    first = tl.load(STARTS + s)
    last = tl.load(STARTS + s + 1)
    total = tl.zeros((BM, BN), ACC)
    for r0 in range(first, last, BK):
        r = r0 + tl.arange(0, BK)
        rm = r < last
        row = tl.load(ORDER + r, mask=rm, other=0)
        g = tl.load(G + row[None, :] * GS + n[:, None], mask=rm[None, :] & (n < N)[:, None], other=0.0).to(OPERAND)
        a = tl.load(A + row[:, None] * AS + k[None, :], mask=rm[:, None] & (k < K)[None, :], other=0.0).to(OPERAND)
        total = tl.dot(g, a, total, input_precision=PRECISION, out_dtype=ACC)
    to = OUT + s.to(tl.int64) * N * K + n[:, None] * K + k[None, :]
    tl.store(to, total, mask=(n < N)[:, None] & (k < K)[None, :])
"""


class Slot(NamedTuple):
    """Which part of a tensor a place is, `at` steps from the kernel's own, or at which of two parities."""

    tensor: Hashable
    at: int | None
    parity: bool


class Timed(NamedTuple):
    """A work, done for the step after so many strides."""

    work: Work
    ahead: int


class Access(NamedTuple):
    """Columns that a kernel reads or writes: by tiles, or (`whole`) all of a row in each."""

    slot: Slot
    column: int
    width: int
    written: bool
    whole: bool = False

    def hinders(self, other: "Access") -> bool:
        """Whether one of them may have to wait for other tiles' kernel to end before the other."""
        if self.slot != other.slot or not (self.written or other.written):
            return False
        if self.column + self.width <= other.column or other.column + other.width <= self.column:
            return False
        return self.whole or other.whole or (self.column, self.width) != (other.column, other.width)


class Kernels(Tape):
    """A tape that runs as Triton kernels on a GPU.

    Tensors of the program that the tape was written for stay where they are; what is bound later is copied to where the
    kernels read it, so that they can be replayed as a graph.

    precision  of the operands of products: pipeline.recurrence.precision; sums and states are of the tape's dtype

    Raises Unsupported where there is no Triton, and for other numbers than float32 and float64.
    """

    def __init__(self, columns: Columns, dtype: torch.dtype):
        super().__init__(columns, dtype)
        if dtype not in (torch.float32, torch.float64):
            raise Unsupported(f"it runs float32 and float64 on a GPU, not {dtype}")
        if not self.is_here():
            raise Unsupported("there is no Triton: pip install triton")
        self.matrices: dict[Hashable, Tensor] = {}
        self._same: dict[Hashable, Hashable] = {}
        self.precision = "ieee"
        self._kernels: dict[tuple[str, int], tuple[list[Kernel], list[Kernel]]] = {}
        self._passes: dict[tuple, Replayed] = {}

    @staticmethod
    def is_here() -> bool:
        return importlib.util.find_spec("triton") is not None

    def ready(self) -> None:
        first: dict[int, Hashable] = {}
        for name, tensor in self.tensors.items():
            self._same[name] = first.setdefault(tensor.data_ptr(), name)

    def bind(self, name: Hashable, tensor: Tensor) -> None:
        if tensor.dtype not in (self.dtype, torch.int64):
            raise TypeError(f"{name}: {tensor.dtype} among {self.dtype}")
        kept = self.tensors.get(name)
        if kept is None or len(kept) < len(tensor) or kept.shape[1:] != tensor.shape[1:]:
            self._forget(name)
            self.tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        else:
            kept[: len(tensor)].copy_(tensor)

    def bind_zeros(self, name: Hashable, steps: int, batch: int, width: int) -> None:
        if self.tensors.pop(name, None) is not None:
            self._forget(name)

    def _forget(self, name: Hashable) -> None:
        """Drops the graphs that read this tensor or matrix: it is about to lie elsewhere."""
        for line, start, steps, stride, batch in list(self._passes):
            first, each = self._planned(line, stride)
            if any(name in kernel.reads for kernel in (*first, *each)):
                del self._passes[line, start, steps, stride, batch]

    def release(self, name: Hashable) -> None:
        """Stays, for the next pass."""

    def bind_choice(self, name: Hashable, symbols: Tensor, count: int) -> None:
        order, starts = sorted_by_choice(symbols, count)
        self.bind((name, "order"), order)
        self.bind((name, "starts"), starts)

    def gradients(self, matrix: Matrix, gradient: Tensor, operand: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if not isinstance(matrix, ChosenMatrix):
            return super().gradients(matrix, gradient, operand, x)
        found = torch.empty_like(matrix.weight, memory_format=torch.contiguous_format)
        (count, N, K), gradient, operand = found.shape, gradient.flatten(0, 1), operand.flatten(0, 1)
        order, starts = sorted_by_choice(x.flatten(), count)
        tile = tile_for_choice(N, K)
        compiled(HEAD + BY_CHOICE)[count, -(-N // tile.BM), -(-K // tile.BN)](
            gradient,
            gradient.stride(0),
            operand,
            operand.stride(0),
            order,
            starts,
            found,
            N,
            K,
            *tile[:3],
            *self.products_in(),
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
        return found, None

    def products_in(self) -> tuple:
        """What products are computed in: Triton's precision, types of their operands and of their sums."""
        import triton.language as tl

        if self.dtype == torch.float64:
            return "ieee", tl.float64, tl.float64
        return DOT[self.precision], tl.bfloat16 if self.precision == "bf16" else tl.float32, tl.float32

    def pack(self, name: Hashable, matrix: Tensor) -> None:
        precision = matmul_precision() if self.dtype == torch.float32 else "ieee"
        dtype = torch.bfloat16 if precision == "bf16" else self.dtype
        kept = self.matrices.get(name)
        if precision != self.precision:
            self._passes.clear()
            self.precision = precision
        if kept is None or (kept.shape, kept.dtype) != (matrix.shape, dtype):
            self._forget(name)
            self.matrices[name] = matrix.detach().to(dtype).contiguous().clone()
        else:
            kept.copy_(matrix)

    def run(self, line: str, start: int, steps: int, stride: int, batch: int) -> None:
        key = line, start, steps, stride, batch
        if key not in self._passes:
            if len(self._passes) >= KEPT:
                del self._passes[next(iter(self._passes))]
            device = next(iter(self.tensors.values())).device
            self._passes[key] = Replayed(functools.partial(self._launch, *key), device)
        self._passes[key]()

    def _launch(self, line: str, start: int, steps: int, stride: int, batch: int) -> None:
        first, each = self._planned(line, stride)
        for kernel in first:
            kernel(start, steps > 0, batch)
        for index in range(steps):
            for kernel in each:
                kernel(start + index * stride, index + 1 < steps, batch)

    def _planned(self, line: str, stride: int) -> "tuple[list[Kernel], list[Kernel]]":
        if (line, stride) not in self._kernels:
            self._kernels[line, stride] = self.plan(line, stride)
        return self._kernels[line, stride]

    def plan(self, line: str, stride: int) -> "tuple[list[Kernel], list[Kernel]]":
        """Kernels of a line: those before the first step, and those of each step."""
        works = self.lines.get(line, [])
        products = [index for index, work in enumerate(works) if isinstance(work, Product)]
        begin = products[0] if products else 0
        lead = self._groups([Timed(work, 0) for work in works[:begin]])
        groups = self._groups([Timed(work, 0) for work in works[begin:]])
        if lead and groups:
            # The stages before the first product of the next step belong to the kernel that ends this one.
            ahead = [Timed(work, stride) for work in works[:begin]]
            joined = self._joined([*groups[-1], *ahead])
            if joined:
                return self._made(lead), self._made([*groups[:-1], joined])
        return [], self._made([*lead, *groups])

    def _made(self, groups: list[list[Timed]]) -> "list[Kernel]":
        return [Kernel(self, group) for group in groups]

    def _groups(self, works: list[Timed]) -> list[list[Timed]]:
        """Works that are done by one kernel each."""
        groups: list[list[Timed]] = []
        for one in works:
            joined = self._joined([*groups[-1], one]) if groups else None
            if joined:
                groups[-1] = joined
            else:
                groups.append([one])
        return groups

    def _joined(self, group: list[Timed]) -> list[Timed] | None:
        """The works, if one kernel may do them all."""
        width = width_of(group)
        products = [work for work, _ in group if isinstance(work, Product)]
        if any(work.choice for work in products) and len(products) > 1:
            return None
        if sum(work.shape[0] // width for work in products) > BLOCKS:
            return None
        before: list[Access] = []
        for one in group:
            now = list(self._accesses(one, width))
            if any(new.hinders(old) for new in now for old in before):
                return None
            before += now
        return group

    def _accesses(self, one: Timed, width: int) -> Iterator[Access]:
        work, ahead = one
        if isinstance(work, Product):
            yield Access(self.slot(work.operand, ahead), work.operand.column, work.shape[1], False, True)
            for at in range(0, work.shape[0], width):
                if work.added:
                    yield Access(self.slot(work.added, ahead), work.added.column + at, width, False)
                yield Access(self.slot(work.result, ahead), work.result.column + at, width, True)
            return
        for written in narrowed(work, width):
            for place, is_written in [(one, False) for one in written.operands] + [(written.out, True)]:
                if isinstance(place, Place) and not is_number(place):
                    yield Access(self.slot(place, ahead), place.column, width, is_written)

    def slot(self, place: Place, ahead: int) -> Slot:
        """Which part of which tensor a place is for a step so many strides ahead."""
        name = self._same.get(place.tensor, place.tensor)
        if not place.timed:
            return Slot(name, None, False)
        at = place.shift + ahead
        return Slot(name, at % 2 if place.parity else at, place.parity)

    def is_read_elsewhere(self, result: Place, group: list[Timed]) -> bool:
        """Whether a product's result is read by other works than those of a group."""
        inside = {id(work) for work, _ in group}
        for works in self.lines.values():
            for work in works:
                if id(work) in inside:
                    continue
                read = [work.operand, work.added] if isinstance(work, Product) else []
                if isinstance(work, Stage):
                    read = [place for one in work.written for place in one.operands]
                if any(isinstance(place, Place) and place.tensor == result.tensor for place in read):
                    return True
        return False


def is_number(place: Place) -> bool:
    return isinstance(place.tensor, tuple) and place.tensor[0] == "number"


def width_of(group: list[Timed]) -> int:
    """The columns that all works of a group take at a time."""
    width = math.gcd(*(work.width for work, _ in group if isinstance(work, Stage)))
    return math.gcd(width, *(work.shape[0] for work, _ in group if isinstance(work, Product)))


def narrowed(stage: Stage, width: int) -> Iterator[Written]:
    """A stage's instructions on parts of `width` columns."""

    def right(part: Place | int, at: int) -> Place | int:
        if isinstance(part, int):
            return part + at
        return part if is_number(part) else part.right(at)

    for one in stage.written:
        for at in range(0, stage.width, width):
            yield Written(one.code, right(one.out, at), [right(part, at) for part in one.operands], one.scalar)


class Kernel:
    """One Triton kernel for works of a group, and how it is launched."""

    def __init__(self, tape: Kernels, group: list[Timed]):
        self.tape, self.width = tape, width_of(group)
        self.names: list[Hashable] = []  # of the tensors that are its arguments
        self.timed: dict[Hashable, bool] = {}
        self.products = [work for work, _ in group if isinstance(work, Product)]
        self.chosen = any(work.choice for work in self.products)
        self.sizes = self.width, sum(work.shape[0] // self.width for work in self.products), self.chosen
        self.body: list[str] = []
        self._values: dict[tuple[Slot, int], str] = {}
        self._pointers: dict[Slot, str] = {}
        for work, ahead in group:
            if isinstance(work, Product):
                self._multiply(work, ahead, tape.is_read_elsewhere(work.result, group))
            else:
                self._do(work, ahead)
        self.source = self._source()
        self.reads = {*self.names, *(work.matrix for work in self.products)}
        self.function = compiled(self.source)

    def _argument(self, name: Hashable, timed: bool) -> int:
        if name not in self.names:
            self.names.append(name)
        self.timed[name] = timed
        return self.names.index(name)

    def _address(self, place: Place, ahead: int, columns: str = "n[None, :]") -> str:
        slot = self.tape.slot(place, ahead)
        index = self._argument(slot.tensor, place.timed)
        if not place.timed:
            return f"X{index} + rows{self._rows(index)} + {place.column} + {columns}"
        if slot not in self._pointers:
            pointer = self._pointers[slot] = f"p{len(self._pointers)}"
            when = f"((t + {slot.at}) % 2)" if slot.parity else f"(t + {slot.at})"
            # A step past the last one is masked, and must not be reckoned with before the first.
            self.body.append(f"{pointer} = X{index} + {when}.to(tl.int64) * TS{index}")
        return f"{self._pointers[slot]} + rows{self._rows(index)} + {place.column} + {columns}"

    def _rows(self, index: int) -> int:
        line = f"rows{index} = m[:, None] * RS{index}"
        if line not in self.body:
            self.body.append(line)
        return index

    def _multiply(self, work: Product, ahead: int, stored: bool) -> None:
        index = self.products.index(work)
        (N, K), width = work.shape, self.width
        sums = [f"sum{index}_{block}" for block in range(N // width)]
        self.body += [f"{name} = tl.zeros((BM, BN), ACC)" for name in sums]
        operand = self._address(work.operand, ahead, "k[None, :]")
        some, offset = "nn[None, :]", ""
        if self.chosen:
            some, offset = f"{some} & (symbol < COUNT)", f" + symbol.to(tl.int64) * {N * K}"
        self.body += [
            f"EVEN{index}: tl.constexpr = {K} % BK == 0",
            f"matrix{index} = W{index}{offset}",
            f"for k0 in range(0, {K}, BK):",
            "    k = k0 + tl.arange(0, BK)",
            f"    km = k < {K}",
            f"    am = mm[:, None] if EVEN{index} else mm[:, None] & km[None, :]",
            f"    wm = {some} if EVEN{index} else {some} & km[:, None]",
            f"    a = tl.load({operand}, mask=am, other=0.0).to(OPERAND)",
        ]
        for block, name in enumerate(sums):
            at = f"(n[None, :] + {block * width}) * {K} + k[:, None]"
            self.body.append(f"    w = tl.load(matrix{index} + {at}, mask=wm, other=0.0).to(OPERAND)")
            self.body.append(f"    {name} = tl.dot(a, w, {name}, input_precision=PRECISION, out_dtype=ACC)")
        added = self._argument(work.added.tensor, True) if work.added else None
        for block, name in enumerate(sums):
            if added is not None:
                address = self._address(work.added.right(block * width), ahead)
                self.body += [f"if GIVEN{added}:", f"    {name} += tl.load({address}, mask=both, other=0.0)"]
            place = work.result.right(block * width)
            self._values[self.tape.slot(place, ahead), place.column] = name
            if stored:
                address = self._address(place, ahead)
                self.body.append(f"tl.store({address}, {name}, mask=both)")

    def _do(self, stage: Stage, ahead: int) -> None:
        mask = "both & (more != 0)" if ahead else "both"

        def value(part: Place | int) -> str:
            if isinstance(part, int):
                return f"r{part}"
            if is_number(part):
                return repr(float(self.tape.columns.numbers[part.tensor[1]]))
            key = self.tape.slot(part, ahead), part.column
            if key not in self._values:
                address = self._address(part, ahead)
                self._values[key] = f"v{len(self._values)}"
                self.body.append(f"{self._values[key]} = tl.load({address}, mask={mask}, other=0.0)")
            return self._values[key]

        for one in narrowed(stage, self.width):
            given = dict(zip("abc", map(value, one.operands)), s=repr(one.scalar))
            result = EXPRESSIONS[one.code].format(**given)
            if isinstance(one.out, int):
                self.body.append(f"r{one.out} = {result}")
                continue
            name = f"w{len(self.body)}"
            address = self._address(one.out, ahead)
            self.body.append(f"{name} = tl.zeros((BM, BN), ACC) + ({result})")
            self.body.append(f"tl.store({address}, {name}, mask={mask})")
            self._values[self.tape.slot(one.out, ahead), one.out.column] = name

    def _source(self) -> str:
        head = ["n = tl.program_id(1) * BN + tl.arange(0, BN)", f"nn = n < {self.width}"]
        rows = ["m = tl.program_id(0) * BM + tl.arange(0, BM)", "mm = m < B"]
        if self.chosen:  # a program takes the rows of one symbol, the last one those of all that are unknown
            [choice] = {work.choice.tensor for work in self.products}
            order, starts = (self._argument((choice, part), True) for part in ("order", "starts"))
            head += [
                "symbol = tl.program_id(0)",
                f"start = X{starts} + t.to(tl.int64) * TS{starts} + symbol",
                "end = tl.load(start + 1)",
                "for r0 in range(tl.load(start), end, BM):",
            ]
            rows = [
                "r = r0 + tl.arange(0, BM)",
                "mm = r < end",
                f"m = tl.load(X{order} + t.to(tl.int64) * TS{order} + r, mask=mm, other=0)",
            ]
        body = [*rows, "both = mm[:, None] & nn[None, :]", *self.body]
        if self.chosen:
            body = ["    " + line for line in body]
        arguments = [f"X{index}, TS{index}, RS{index}, GIVEN{index}: tl.constexpr" for index in range(len(self.names))]
        arguments += [f"W{index}" for index in range(len(self.products))]
        arguments += [f"{name}: tl.constexpr" for name in ("COUNT", "BM", "BN", "BK", "PRECISION", "OPERAND", "ACC")]
        lines = [f"def kernel(t, more, B, {', '.join(arguments)}):", *("    " + line for line in [*head, *body])]
        return HEAD + STEP + "\n".join(lines) + "\n"

    def __call__(self, t: int, more: bool, batch: int) -> None:
        tensors, arguments = self.tape.tensors, []
        for name in self.names:
            tensor = tensors.get(name)
            if tensor is None:  # zeros that need not be added
                arguments += [next(iter(tensors.values())), 0, 0, False]
            else:
                strides = tensor.stride()[:2] if self.timed[name] else (0, tensor.stride(0))
                arguments += [tensor, *strides, True]
        device = next(iter(tensors.values())).device
        memory = [shared_memory(device)] if device.type == "cuda" else []
        tile = tile_for(*self.sizes, batch, self.tape.dtype.itemsize, *memory)
        count = self.products[0].count if self.chosen else 0
        self.function[count + 1 if self.chosen else -(-batch // tile.BM), -(-self.width // tile.BN)](
            t,
            int(more),
            batch,
            *arguments,
            *(self.tape.matrices[work.matrix] for work in self.products),
            count,
            *tile[:3],
            *self.tape.products_in(),
            num_warps=tile.warps,
            num_stages=tile.stages,
        )


class Tile(NamedTuple):
    """Rows of the batch, hidden units and columns of the operand that a program takes at a time, its warps, and how
    many parts of the operands are on their way at once."""

    BM: int
    BN: int
    BK: int
    warps: int = 4
    stages: int = 3


def tile_for(width: int, blocks: int, chosen: bool, batch: int, size: int = 4, memory: int = 232448) -> Tile:
    """The fastest found on an H100 for a kernel with `blocks` products [B, K] -> [B, width] of numbers of `size` bytes,
    none: pointwise functions alone; smaller where a program's shared memory, in bytes, does not hold it.

    chosen  whether rows choose their matrices: few of the batch have the same
    """
    if not blocks:
        return Tile(16, 64, 16, 4, 1)
    if chosen:
        tile = Tile(16, 64, 64)
    elif width <= 128:
        tile = Tile(16, 16, 128)
    elif batch > 32 and blocks > 2 and width >= 512:
        tile = Tile(64, 8, 128)
    elif batch > 32 and width >= 1024:
        tile = Tile(64, 16, 128)
    else:
        tile = Tile(16, 32, 128)

    def needs(one: Tile) -> int:
        return (one.BM + blocks * one.BN) * one.BK * one.stages * size

    while needs(tile) > memory and (tile.stages > 2 or tile.BK > 16):
        tile = tile._replace(stages=tile.stages - 1) if tile.stages > 2 else tile._replace(BK=tile.BK // 2)
    return tile


def tile_for_choice(N: int, K: int) -> Tile:
    """For the gradients of chosen matrices [N, K]: BM rows and BN columns of one, from BK rows of the batch at a time.
    Its shared memory is 48 KiB at most, which any GPU has."""
    return Tile(32, 64, 64, 4, 2) if min(N, K) >= 64 else Tile(16, 16, 32)


def sorted_by_choice(symbols: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Symbols [..., B], those from `count` = S on being unknown -> the order of rows [..., B] that brings equal ones
    together; and where in it those of each begin, then the unknown, and its end [..., S + 2]."""
    ordered, order = symbols.clamp(max=count).sort(dim=-1, stable=True)
    each = torch.arange(count + 2, device=symbols.device).expand(*symbols.shape[:-1], -1)
    return order, torch.searchsorted(ordered, each.contiguous())


@functools.cache
def shared_memory(device: torch.device) -> int:
    """Bytes that a program may have of it."""
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin


@functools.cache
def compiled(source: str):
    """The Triton kernel of a source, which Triton reads as it would a file's."""
    name = f"<recurrence {hashlib.sha256(source.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    module: dict = {"__name__": name}
    exec(compile(source, name, "exec"), module)
    return module["kernel"]
