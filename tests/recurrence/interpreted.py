"""Runs every cell's kernels in Triton's interpreter, which is chosen before Triton is imported: a process of its own.

Prints a line of JSON for each cell: its name, the largest error of outputs, states and gradients relative to the
largest number of each, and how many kernels a step launches forward and backward.
"""

import json
import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch

from pipeline.recurrence import engines, fused, graphs, kernels
from pipeline.recurrence.passes import by_program
from tests.cells.test_cells import make

T, B, D, H = 3, 5, 7, 18  # no multiples of the tiles


class Launches:
    """Stands for a GPU's stream: what is launched is done at once, or recorded to be done again."""

    def __init__(self):
        self.count, self.record = 0, None
        self.compiled = kernels.compiled

    def recorded(self, work, device):
        self.record = record = []
        work()
        self.record = None

        def replay():
            for function, grid, arguments, options in record:
                function[grid](*arguments, **options)
            self.count += len(record)

        return replay

    def function(self, source):
        def launch(grid, *arguments, **options):
            if self.record is not None:
                self.record.append((self.compiled(source), grid, arguments, options))
            else:
                self.compiled(source)[grid](*arguments, **options)
                self.count += 1

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
    return [outputs, *after, *gradients], (forward, launches.count - before - forward)


def replayed(work, device):
    found = graphs.Replayed(work, torch.device("cuda"))
    found.called = True  # an interpreter compiles nothing first
    return found


def main(names):
    launches = Launches()
    graphs.recorded, kernels.compiled = launches.recorded, launches.function
    kernels.Replayed = replayed
    fused.TAPES["cpu"] = kernels.Kernels
    for name in names:
        cell = make(name, D, hidden=H)
        generator = torch.Generator().manual_seed(0)
        worst = 0.0
        tile = kernels.Tile({"lstm": 4, "mrnn_full": 2}.get(name, 8), 16, 16)
        kernels.tile_for = lambda *sizes, tile=tile: tile
        kernels.tile_for_choice = lambda *sizes: kernels.Tile(16, 16, 2)
        # Recorded, replayed after a change of the weights, and for one cell shorter than what there is memory for.
        for index, length in enumerate((T, T, T - 1) if name == "lstm" else (T, T)):
            x = torch.randint(0, D + 1, (length, B), generator=generator)
            if name == "mrnn_full":  # more rows choose the same matrix than a tile has
                x = torch.tensor([0, 3, D])[x % 3]
            state = tuple(
                (torch.rand(B, width, dtype=torch.double, generator=generator) - 0.5).requires_grad_()
                for width in cell.state.values()
            )
            ours, counts = everything(cell, x, state, "fused", launches)
            if index:
                theirs, _ = everything(cell, x, state, "reference", launches)
                for one, other in zip(ours, theirs, strict=True):
                    worst = max(worst, ((one - other).abs().max() / other.abs().max().clamp(min=1e-9)).item())
            else:
                whole = counts
            with torch.no_grad():
                for parameter in cell.parameters():
                    parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.double, generator=generator))
        print(json.dumps([name, worst, [count // T for count in whole]]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
