"""The GPU's kernels, without a GPU: their numbers in Triton's interpreter, and what compilers make of them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.recurrence import kernels
from pipeline.recurrence.fused import FusedProgram
from pipeline.recurrence.kernels import Tile, sorted_by_choice, tile_for
from pipeline.recurrence.step import Step
from tests.cells.test_cells import NAMES, make

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="there is no Triton")
TWICE = {"gru", "mut1", "mut2", "mut3", "mrnn", "mlstm"}  # a product needs what follows another one


def lines_of(module: str, *arguments: str) -> list:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def interpreted():
    """Cell -> the largest error of its kernels, the launches of a step forward and backward, and how many graphs each
    of its passes records."""
    distinct = {str(make(name, 3).__class__): name for name in reversed(NAMES)}.values()
    found = {name: rest for name, *rest in lines_of("tests.recurrence.interpreted", *distinct)}
    assert found.keys() == set(distinct)
    return found


@pytest.mark.xdist_group("kernels")
def test_kernels_give_what_the_plain_loop_gives(interpreted):
    assert {name: error for name, (error, *_) in interpreted.items() if error > 1e-12} == {}


@pytest.mark.xdist_group("kernels")
def test_a_step_launches_a_kernel_for_each_product_that_waits_for_another(interpreted):
    launches = {name: launches for name, (_, launches, _) in interpreted.items()}
    assert launches == {name: [2, 2] if name in TWICE else [1, 1] for name in interpreted}


@pytest.mark.xdist_group("kernels")
def test_a_pass_is_recorded_once_for_each_length(interpreted):
    recorded = {name: recorded for name, (*_, recorded) in interpreted.items()}
    assert recorded == {name: [2, 0, 2] if name in ("lstm", "mrnn_full") else [2, 0] for name in interpreted}


@pytest.mark.parametrize("hidden, architecture, precision", [(1024, 90, "bf16"), (512, 80, "tf32")])
def test_kernels_compile_for_other_machines(hidden, architecture, precision):
    tool = Path(importlib.util.find_spec("triton").origin).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        pytest.skip("Triton came without NVIDIA's tools")
    for name, line, index, stack, shared, multiplies in lines_of(
        "tests.recurrence.crosscompiled", str(hidden), str(architecture), precision, "lstm", "mrnn_full"
    ):
        which = f"{name} {line} {index}"
        assert stack == 0, f"{which} spills registers"
        assert shared <= {80: 166912, 90: 232448}[architecture], which
        assert multiplies, f"{which} leaves the tensor cores unused"


def test_a_tile_fits_into_the_memory_of_a_smaller_gpu():
    assert tile_for(512, 4, False, 100) == Tile(64, 8, 128)
    small = tile_for(512, 4, False, 20, 4, 101376)  # of a consumer's GPU
    assert (small.BM + 4 * small.BN) * small.BK * small.stages * 4 <= 101376


def test_graphs_that_read_what_has_moved_are_recorded_anew(monkeypatch):
    made = []

    class Pass:
        def __init__(self, work, device):
            made.append(work.args[0])

        def __call__(self):
            pass

    monkeypatch.setattr(kernels, "Replayed", Pass)
    cell = make("rnn", 3, hidden=4)
    state = (torch.zeros(2, 4).double(),)
    tape = FusedProgram(Step(cell, {}, {}, state, 2), cell, 5, 2, kernels.Kernels).tape
    for steps in (3, 3, 2, 5):  # the last one needs more memory for what is added
        tape.bind(("added", "h"), torch.zeros(steps, 2, 4).double())
        tape.run("forward", 0, 2, 1, 2)
        tape.run("backward", 1, 2, -1, 2)
    assert made == ["forward", "backward", "forward"]


def test_rows_are_sorted_by_what_they_choose_and_the_unknown_come_last():
    order, starts = sorted_by_choice(torch.tensor([[2, 5, 0, 2], [9, 3, 3, 1]]), 3)
    assert order.tolist() == [[2, 0, 3, 1], [3, 0, 1, 2]]
    assert starts.tolist() == [[0, 1, 1, 3, 4], [0, 0, 1, 1, 4]]  # of 0, 1, 2 and the unknown, and the end
