import pytest
import torch

from pipeline import products, recurrence
from tests.cells.test_cells import B, NAMES, make, symbols


@pytest.fixture
def small(monkeypatch):
    """Every matrix is worth packing."""
    monkeypatch.setattr(products, "SMALLEST", 1)


def test_only_large_float32_matrices_are_packed():
    large = torch.zeros(1024, 256)
    assert products.packs(large)
    for other in (large.double(), torch.zeros(1023, 256), torch.zeros(4, 256, 256), large.to("meta")):
        assert not products.packs(other)


@pytest.mark.parametrize("shape", [(5, 7, 3), (50, 300, 128), (1, 16, 16)])
def test_a_packed_product_is_the_product(small, shape):
    batch, rows, columns = shape
    generator = torch.Generator().manual_seed(0)
    weight, operand, gradient = (torch.randn(size, generator=generator) for size in ((rows, columns), (batch, columns), (batch, rows)))
    torch.testing.assert_close(products.ready(weight, batch)(operand).double(), operand.double() @ weight.double().t(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(products.ready(weight.mT, batch)(gradient).double(), gradient.double() @ weight.double(), rtol=1e-5, atol=1e-4)


# Compiling takes a while: three cells, with one product, with two, and with one that has no projection.
@pytest.mark.parametrize("name, engine", [(name, "deferred") for name in NAMES] + [(name, "compiled") for name in ("lstm", "mut1", "mrnn")])
def test_cells_learn_the_same_with_packed_matrices(small, monkeypatch, name, engine):
    monkeypatch.setattr(recurrence, "_verdicts", {})
    found = []
    for way, dtype in ((engine, torch.float32), ("reference", torch.float64)):
        cell = make(name, 5).to(dtype)
        state = tuple(torch.zeros(B, width, dtype=dtype, requires_grad=True) for width in cell.state.values())
        outputs, ends = recurrence.run(cell, symbols(5), state, way)
        loss = sum((part * part).sum() for part in (outputs, *ends))
        found.append([outputs, *ends, *torch.autograd.grad(loss, list(cell.parameters()))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-5)
