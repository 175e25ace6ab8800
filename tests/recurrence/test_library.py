"""PyTorch's kernels on symbols."""

import pytest
import torch

from pipeline.cells.lstm import LSTM
from pipeline.recurrence import engines
from pipeline.recurrence.library import IN_TORCH
from tests.cells.test_cells import everything
from tests.cells.test_products import Largest

V, H = 40, 4  # V beyond the rows of every input matrix, or not
CELLS = sorted(IN_TORCH, key=lambda cell: cell.__name__)


def drawn(kind, inputs, hidden=H):
    torch.manual_seed(0)
    return kind(inputs, hidden).double()


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("inputs", [3, V])
def test_symbols_give_what_the_plain_loop_gives_with_few_and_with_many(kind, inputs):
    cell = drawn(kind, inputs)
    x = torch.randint(0, inputs + 1, (7, 3), generator=torch.Generator().manual_seed(1))  # unknown ones too
    x[2, 1] = inputs
    for ours, theirs in zip(everything(cell, x, "library"), everything(cell, x, "reference"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_many_symbols_take_no_more_memory_than_their_weights(kind):
    cell, x = drawn(kind, 2000), torch.arange(12).view(4, 3)
    state = tuple(torch.zeros(3, width).double() for width in cell.state.values())
    with Largest() as largest:
        engines.run(cell, x, state, "library")
    assert largest.numbers <= 2001 * len(cell.input_weight)


def test_a_wide_cell_makes_no_matrix_of_symbols_by_symbols():
    """Its rows are more than the symbols: they are read as one-hot vectors."""
    cell, x = drawn(LSTM, 300, 80), torch.arange(12).view(4, 3)
    state = tuple(torch.zeros(3, width).double() for width in cell.state.values())
    with Largest() as largest:
        engines.run(cell, x, state, "library")
    assert 300 * 301 > largest.numbers >= 12 * 300
