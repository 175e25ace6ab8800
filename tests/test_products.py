import pytest
import torch

from pipeline import products, recurrence
from tests.cells.test_cells import B, NAMES, make, symbols


@pytest.fixture
def small(monkeypatch):
    """Every matrix is worth packing."""
    monkeypatch.setattr(products, "SMALLEST", 1)


def test_only_large_constant_float32_matrices_are_packed():
    large = torch.zeros(1024, 256)
    assert products.packs(large)
    for other in (large.double(), torch.zeros(1023, 256), torch.nn.Parameter(large), torch.zeros(4, 256, 256), large.to("meta")):
        assert not products.packs(other)


@pytest.mark.parametrize("shape", [(5, 7, 3), (50, 300, 128), (1, 16, 16)])
def test_a_packed_product_and_its_gradients_are_the_product(small, shape):
    batch, rows, columns = shape
    generator = torch.Generator().manual_seed(0)
    added, operand, weight = (torch.randn(size, generator=generator) for size in ((batch, rows), (batch, columns), (rows, columns)))
    strided = torch.randn(batch, 2 * rows, generator=generator)[:, :rows]
    for term in (added, strided, added[:1].expand(batch, -1)):
        term, operand = term.detach().requires_grad_(), operand.detach().requires_grad_()
        products.pack(weight, batch)
        result = products.add_product(term, operand, weight)
        outer = torch.randn(batch, rows, generator=generator)
        result.backward(outer)
        exact = [part.detach().double() for part in (term, operand, weight, outer)]
        torch.testing.assert_close(result.double(), exact[0] + exact[1] @ exact[2].t(), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(operand.grad.double(), exact[3] @ exact[2], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(term.grad, outer)


def test_packing_again_follows_a_matrix_that_changed(small):
    weight, operand, added = torch.ones(4, 4), torch.ones(2, 4), torch.zeros(2, 4)
    products.pack(weight, 2)
    weight.mul_(3)
    products.pack(weight, 2)
    assert (products.add_product(added, operand, weight) == 12).all()


# Compiling takes a while: three cells, with one product, with two, and with one that has no projection.
@pytest.mark.parametrize("name, engine", [(name, "deferred") for name in NAMES] + [(name, "compiled") for name in ("lstm", "mut1", "mrnn")])
def test_cells_learn_the_same_with_packed_matrices(small, monkeypatch, name, engine):
    monkeypatch.setattr(recurrence, "CHUNK", 3)
    monkeypatch.setattr(recurrence, "_verdicts", {})
    torch._dynamo.reset()
    found = []
    for way, dtype in ((engine, torch.float32), ("reference", torch.float64)):
        cell = make(name, 5).to(dtype)
        state = tuple(torch.zeros(B, width, dtype=dtype, requires_grad=True) for width in cell.state.values())
        outputs, ends = recurrence.run(cell, symbols(5), state, way)
        loss = sum((part * part).sum() for part in (outputs, *ends))
        found.append([outputs, *ends, *torch.autograd.grad(loss, list(cell.parameters()))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-5)
