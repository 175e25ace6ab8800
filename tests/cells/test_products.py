import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.cells import products
from pipeline.recurrence import compilable, engines
from tests.cells.test_cells import NAMES, B, make, symbols


class Largest(TorchDispatchMode):
    """Numbers of the largest tensor that was made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        made = [] if func.is_view else out if isinstance(out, (tuple, list)) else [out]
        self.numbers = max([self.numbers, *(one.numel() for one in made if isinstance(one, torch.Tensor))])
        return out


@pytest.fixture
def small(monkeypatch):
    """Every product is worth oneDNN's call, whatever the processor."""
    monkeypatch.setattr(products, "WORTH", 1)
    monkeypatch.setattr(products, "CAPABILITY", "AVX512")


def test_only_large_float32_matrices_go_to_onednn(monkeypatch):
    monkeypatch.setattr(products, "CAPABILITY", "AVX512")
    weight = torch.zeros(1024, 256)
    assert products.served(weight, weight, 4)
    assert not products.served(weight, weight, 3) and not products.served(weight[:, :64], weight[:, :64], 1)
    for other in (weight.double(), torch.zeros(4, 256, 256), weight.to("meta")):
        assert not products.served(other, other, 4)


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_has_the_derivatives_of_the_ordinary_one(small, bias):
    generator = torch.Generator().manual_seed(0)
    shapes = [(30, 20), (40, 20), *([(40,)] if bias else [])]
    values, tangents = ([torch.randn(shape, generator=generator) for shape in shapes] for _ in range(2))

    def found(function, dtype):
        given = [value.to(dtype).requires_grad_() for value in values]
        out, tangent = torch.func.jvp(function, tuple(given), tuple(one.to(dtype) for one in tangents))
        gradients = torch.autograd.grad((out**3).sum(), given, create_graph=True)
        second = torch.autograd.grad(sum((one**2).sum() for one in gradients), given)
        return [out, tangent, *gradients, *second]

    assert products.served(values[0], values[1], 30)
    for ours, theirs in zip(
        found(products.product, torch.float32), found(torch.nn.functional.linear, torch.float64), strict=True
    ):
        assert (ours.double() - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_it_takes_matrices_however_they_lie_in_memory(small):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(30, 20, generator=generator), torch.randn(40, 20, generator=generator)
    for way in (
        lambda a: a,
        lambda a: a.t().contiguous().t(),
        lambda a: torch.cat([a, a], 1)[:, :20],
        lambda a: a[:1].expand(len(a), -1),
    ):
        torch.testing.assert_close(
            products.product(way(first), way(second)), way(first) @ way(second).t(), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("embedded", [False, True])
def test_linear_is_the_product_for_values_and_for_symbols(small, embedded):
    x = torch.randint(0, 8, (5, 6), generator=torch.Generator().manual_seed(0))
    weight, bias = torch.randn(9, 7), torch.randn(9)
    rows = torch.eye(8, 7)[x]  # 7 is unknown
    torch.testing.assert_close(products.linear(rows if embedded else x, weight, bias), rows @ weight.t() + bias)


@pytest.mark.parametrize("biased", [False, True])
def test_few_of_many_symbols_are_as_among_many(biased):
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(*shape, generator=generator).requires_grad_() for shape in ((9, 500), (9,)))
    given = (weight, bias if biased else None)
    x, upstream = torch.tensor([[3], [500], [499], [3]]), torch.randn(4, 1, 9, generator=generator)  # 500: unknown
    many = torch.cat([x, torch.arange(500)[:, None]])
    with Largest() as largest:
        few = products.linear(x, *given)
    assert torch.equal(few, products.linear(many, *given)[:4]) and largest.numbers == few.numel()
    wanted = [one for one in given if one is not None]
    ours = torch.autograd.grad(few, wanted, upstream)
    theirs = torch.autograd.grad(products.linear(many, *given)[:4], wanted, upstream)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("shape", [(5, 7, 3), (50, 300, 128), (1, 16, 16)])
def test_a_packed_product_is_the_product(small, shape):
    batch, rows, columns = shape
    generator = torch.Generator().manual_seed(0)
    weight, operand, gradient = (
        torch.randn(size, generator=generator) for size in ((rows, columns), (batch, columns), (batch, rows))
    )
    torch.testing.assert_close(
        products.ready(weight, batch)(operand).double(), operand.double() @ weight.double().t(), rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(
        products.ready(weight.mT, batch)(gradient).double(), gradient.double() @ weight.double(), rtol=1e-5, atol=1e-4
    )


# Compiling takes a while: three cells, with one product, with two, and with one that has no projection.
@pytest.mark.parametrize(
    "name, engine", [(name, "deferred") for name in NAMES] + [(name, "compiled") for name in ("lstm", "mut1", "mrnn")]
)
def test_cells_learn_the_same_with_packed_matrices(small, monkeypatch, name, engine):
    monkeypatch.setattr(compilable, "_verdicts", {})
    found = []
    for way, dtype in ((engine, torch.float32), ("reference", torch.float64)):
        cell = make(name, 5).to(dtype)
        state = tuple(torch.zeros(B, width, dtype=dtype, requires_grad=True) for width in cell.state.values())
        outputs, ends = engines.run(cell, symbols(5), state, way)
        loss = sum((part * part).sum() for part in (outputs, *ends))
        found.append([outputs, *ends, *torch.autograd.grad(loss, list(cell.parameters()))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-5)
