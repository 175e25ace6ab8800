"""Compiles cells' kernels for GPUs that are not here, and prints a line of JSON for each: cell, line, which kernel,
bytes of a thread's stack and of shared memory, and whether it has tensor-core instructions."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pipeline.cells.inputs import projections
from pipeline.recurrence import kernels
from pipeline.recurrence.fused import FusedProgram
from pipeline.recurrence.step import Step
from tests.cells.test_cells import make

BATCH, SYMBOLS = 100, 65
MEMORY = {80: 166912, 90: 232448}  # bytes of a program, of an A100 and of an H100
TOOL = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def inspected(
    function, tile: kernels.Tile, constants: dict, pointers: dict[str, str], architecture: int, precision: str
) -> tuple[int, int, bool]:
    """Stack, shared memory, whether there are tensor-core instructions.

    constants, pointers  of its arguments; the others are numbers
    """
    constants = constants | {
        "PRECISION": kernels.DOT[precision],
        "OPERAND": tl.bfloat16 if precision == "bf16" else tl.float32,
        "ACC": tl.float32,
    }
    names = function.arg_names
    types = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names}
    dense = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if types[name] != "constexpr" and name not in ("t", "more", "B")
    }
    made = triton.compile(
        ASTSource(function, types, constants, dense),
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": tile.warps, "num_stages": tile.stages},
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(made.asm["cubin"])
        usage = subprocess.run([TOOL, "--dump-resource-usage", file.name], capture_output=True, text=True).stdout
    [stack] = map(int, re.findall(r"STACK:(\d+)", usage))
    return stack, made.metadata.shared, "mma" in made.asm["ptx"]


def of_a_step(kernel: kernels.Kernel, architecture: int, precision: str) -> tuple[int, int, bool]:
    tile = kernels.tile_for(*kernel.sizes, BATCH, 4, MEMORY[architecture])
    names = kernel.function.arg_names
    constants = dict(zip(("BM", "BN", "BK"), tile[:3]), COUNT=SYMBOLS)
    constants |= {name: True for name in names if name.startswith("GIVEN")}
    pointers = {name: "*fp32" for name in names if name[0] in "XW"}
    pointers |= {f"X{index}": "*i64" for index, name in enumerate(kernel.names) if name[-1] in ("order", "starts")}
    return inspected(kernel.function, tile, constants, pointers, architecture, precision)


def of_gradients(hidden: int, architecture: int, precision: str) -> tuple[int, int, bool]:
    """Of chosen matrices [hidden, hidden]."""
    tile = kernels.tile_for_choice(hidden, hidden)
    constants = dict(zip(("BM", "BN", "BK"), tile[:3]))
    pointers = dict.fromkeys(("G", "A", "OUT"), "*fp32") | dict.fromkeys(("ORDER", "STARTS"), "*i64")
    function = kernels.compiled(kernels.HEAD + kernels.BY_CHOICE)
    return inspected(function, tile, constants, pointers, architecture, precision)


def main(hidden: int, architecture: int, precision: str, names: list[str]) -> None:
    for name in names:
        cell = make(name, SYMBOLS if name == "mrnn_full" else hidden, hidden=hidden).float()
        xs = {
            key: part[0]
            for key, part in projections(cell, torch.zeros(1, 1, cell.inputs)).items()
            if key not in cell.recurrent
        }
        state = tuple(torch.zeros(1, width) for width in cell.state.values())
        program = FusedProgram(Step(cell, xs, cell.constants(1), state, 1), cell, 2, 2, kernels.Kernels)
        for line, stride in (("forward", 1), ("backward", -1)):
            for index, kernel in enumerate(program.tape.plan(line, stride)[1]):
                print(json.dumps([name, line, index, *of_a_step(kernel, architecture, precision)]))
        if cell.chosen:
            print(json.dumps([name, "gradients", 0, *of_gradients(hidden, architecture, precision)]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
