"""Runs every cell's kernels in Triton's interpreter, which is chosen before Triton is imported: a process of its own.

Prints a line of JSON for each cell: its name, the largest error of outputs, states and gradients, and for two cells of
products with the Jacobian, relative to the largest number of each, how many kernels a step launches forward and
backward, and how many graphs each pass records. New memory and what lies behind a matrix are NaN. The programs of a
kernel run in the order of its grid or in the opposite one, as is drawn at each launch.
"""

import itertools
import json
import math
import os
import random
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch
from triton.runtime.interpreter import interpreter_builder

from pipeline.cells.matrices import ChosenMatrix
from pipeline.recurrence import engines, fused, graphs, kernels
from pipeline.recurrence.linearized import linearized
from pipeline.recurrence.passes import by_program
from tests.cells.test_cells import make

T, B, D, H = 3, 5, 7, 18  # no multiples of the tiles


class Launches:
    """Stands for a GPU's stream: what is launched is done at once, or recorded to be done again."""

    def __init__(self):
        self.count, self.graphs, self.record = 0, 0, None
        self.compiled = kernels.compiled
        self.place, self.mirrored, self.random = interpreter_builder.set_grid_idx, False, random.Random(0)
        interpreter_builder.set_grid_idx = self.at

    def at(self, *place):
        """The place of the next program in the grid; its mirror image, where programs run in the opposite order."""
        if self.mirrored:
            place = [size - 1 - one for size, one in zip(interpreter_builder.grid_dim, place, strict=True)]
        self.place(*place)

    def run(self, source, grid, arguments, options):
        self.mirrored = self.random.random() < 0.5
        self.compiled(source)[grid](*arguments, **options)
        self.count += 1

    def recorded(self, work, device):
        self.graphs += 1
        self.record = record = []
        work()
        self.record = None

        def replay():
            for launch in record:
                self.run(*launch)

        return replay

    def function(self, source):
        def launch(grid, *arguments, **options):
            if self.record is not None:
                self.record.append((source, grid, arguments, options))
            else:
                self.run(source, grid, arguments, options)

        return ByGrid(launch)


class ByGrid:
    def __init__(self, launch):
        self.launch = launch

    def __getitem__(self, grid):
        return lambda *arguments, **options: self.launch(grid, *arguments, **options)


def everything(cell, x, state, way, launches):
    """Outputs, states after and all gradients; and the launches forward and backward."""
    before = launches.count
    if way == "fused":
        outputs, after = by_program(cell, x, state, dict(cell.recurrent), way)
    else:
        outputs, after = engines.run(cell, x, state, way)
    forward = launches.count - before
    loss = (outputs * torch.arange(H)).sum() + sum((part * part).sum() for part in after)
    wanted = [*cell.parameters(), *state]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    # Detached, for a graph keeps its program, and the next pass is to run by the same one.
    found = [part.detach() for part in (outputs, *after, *gradients)]
    return found, (forward, launches.count - before - forward)


def products_with_the_jacobian(cell, x, state, way):
    """J v, where J is of outputs and states after in parameters and the state before: of two v."""
    if way == "fused":
        outputs, after = linearized(cell, x, state, dict(cell.recurrent), way)
    else:
        outputs, after = engines.run(cell, x, state, way)
    found, given = [outputs, *after], [*cell.parameters(), *state]
    changes = [torch.zeros_like(part, requires_grad=True) for part in found]
    options = {"allow_unused": True, "materialize_grads": True}
    transposed = torch.autograd.grad(found, given, changes, create_graph=True, **options)
    generator = torch.Generator().manual_seed(1)
    products = []
    for _ in range(2):
        v = [torch.rand(part.shape, dtype=torch.double, generator=generator) for part in given]
        of = torch.autograd.grad(transposed, changes, v, retain_graph=True, **options)
        products += [part.clone() for part in of]  # which lie in buffers until the next one
    return products


def largest_error(ours, theirs):
    """Relative to the largest number of each part; infinite where one is NaN."""
    errors = [
        ((one - other).abs().max() / other.abs().max().clamp(min=1e-9)).item()
        for one, other in zip(ours, theirs, strict=True)
    ]
    return math.inf if any(map(math.isnan, errors)) else max(errors)


def replayed(work, device):
    found = graphs.Replayed(work, torch.device("cuda"))
    found.called = True  # an interpreter compiles nothing first
    return found


class Kernels(kernels.Kernels):
    def pack(self, name, matrix):
        if name not in self.matrices:
            self.matrices[name] = torch.full((2 * matrix.numel(),), math.nan, dtype=matrix.dtype)[: matrix.numel()]
            self.matrices[name] = self.matrices[name].view(matrix.shape)
        super().pack(name, matrix)


def main(names):
    launches = Launches()
    graphs.recorded, kernels.compiled = launches.recorded, launches.function
    kernels.Replayed = replayed
    fused.TAPES["cpu"] = Kernels
    ChosenMatrix.gradients = None  # which the kernels are to do
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    for name in names:
        cell = make(name, D, hidden=H)
        generator = torch.Generator().manual_seed(0)
        rows = {"lstm": 4, "mrnn_full": 2}.get(name, 8)
        # Parts of 16 columns, of which H is no multiple, and of 2.
        tiles = itertools.cycle([kernels.Tile(rows, 16, 16), kernels.Tile(rows, 16, 2)])
        kernels.tile_for = lambda *sizes, tiles=tiles: next(tiles)
        kernels.tile_for_choice = lambda *sizes: kernels.Tile(16, 16, 2)
        worst, counts, recorded = 0.0, [], []
        # Recorded, replayed after a change of the weights, and for two cells shorter than what there is memory for.
        for length in (T, T, T - 1) if name in ("lstm", "mrnn_full") else (T, T):
            x = torch.randint(0, D + 1, (length, B), generator=generator)
            if name == "mrnn_full":  # more rows choose the same matrix than a tile has
                x = torch.tensor([0, D - 1, D])[x % 3]
                x[:, 0] = D
            state = tuple(
                (torch.rand(B, width, dtype=torch.double, generator=generator) - 0.5).requires_grad_()
                for width in cell.state.values()
            )
            before = launches.graphs
            ours, count = everything(cell, x, state, "fused", launches)
            recorded.append(launches.graphs - before)
            counts.append([launched // length for launched in count])
            theirs, _ = everything(cell, x, state, "reference", launches)
            worst = max(worst, largest_error(ours, theirs))
            with torch.no_grad():
                for parameter in cell.parameters():
                    parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.double, generator=generator))
        if name in ("lstm", "mrnn_full"):
            ours, theirs = (products_with_the_jacobian(cell, x, state, way) for way in ("fused", "reference"))
            worst = max(worst, largest_error(ours, theirs))
        print(json.dumps([name, worst, counts[0], recorded]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
