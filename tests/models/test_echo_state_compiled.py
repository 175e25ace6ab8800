"""echo_state.cpp against loops of NumPy: every form of it that this processor can run."""

import copy
import math

import numpy as np
import pytest
import torch

from pipeline.models import echo_state_compiled
from pipeline.models.echo_state import add_products
from pipeline.recurrence import forms
from tests.models.test_echo_state import SPACES, learn, make, streams_of

FORMS = [form for form in forms.runnable() if echo_state_compiled.load(form)]
pytestmark = pytest.mark.skipif(not FORMS, reason="echo_state.cpp was not compiled: no C++ compiler at installation")


def take(form, monkeypatch):
    chosen = form and echo_state_compiled.load(form)
    for name in ("library", "products_library"):
        monkeypatch.setattr(echo_state_compiled, name, lambda: chosen)


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    take(request.param, monkeypatch)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def drawn(units, connections, inputs, seed=0):
    """columns, weights, input_weight, bias."""
    draw = np.random.default_rng(seed)
    columns = np.concatenate([draw.permutation(units)[:connections] for _ in range(units)])
    numbers = draw.normal(size=units * connections), draw.normal(size=(units, inputs)), draw.normal(size=units)
    return torch.from_numpy(columns), *map(torch.from_numpy, numbers)


def naive(matrices, leak, v, x):
    """[C, B, N]"""
    columns, weights, input_weight, bias = (part.double().numpy() for part in matrices)
    units = len(bias)
    W = np.zeros((units, units))
    np.add.at(W, (np.arange(units).repeat(len(columns) // units), columns.astype(int)), weights)
    if not v.is_floating_point():
        v = torch.from_numpy(np.eye(input_weight.shape[1] + 1)[v.numpy()][..., :-1])
    x, states = x.double().numpy(), []
    for element in v.double().numpy():
        x = (1 - leak) * x + leak * np.tanh(W @ x + input_weight @ element.T + bias[:, None])
        states.append(x.T)
    return np.stack(states)


@pytest.mark.parametrize("units, connections", [(1, 1), (7, 2), (8, 8), (33, 5), (70, 3)])
@pytest.mark.parametrize("batch", [1, 2, 8, 9, 35, 130])
@pytest.mark.parametrize("inputs, symbols", [(1, False), (3, False), (4, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_are_those_of_dense_matrices(form, threads, units, connections, batch, inputs, symbols, dtype):
    steps, leak, draw = 4, 1.0 if batch == 2 else 0.3, torch.Generator().manual_seed(1)
    matrices = columns, *_ = drawn(units, connections, inputs)
    matrices = columns, *(part.to(dtype) for part in matrices[1:])
    x = torch.rand(batch, units, generator=draw, dtype=dtype).T  # as it lies in a state
    v = (
        torch.randint(0, inputs + 1, (steps, batch), generator=draw)
        if symbols
        else torch.randn(steps, batch, inputs, generator=draw, dtype=dtype)
    )
    before, rows = x.clone(), torch.full((steps, batch, units + 2), 7.0, dtype=torch.float64)
    after = echo_state_compiled.drive(matrices, leak, v, x, rows[..., :units])
    expected, tolerance = naive(matrices, leak, v, x), 1e-13 if dtype == torch.float64 else 1e-5
    np.testing.assert_allclose(rows[..., :units], expected, rtol=0, atol=tolerance)
    assert after.dtype == dtype and torch.equal(after.double(), rows[-1, :, :units].T) and torch.equal(x, before)
    assert (rows[..., units:] == 7).all()  # what follows the states is not written to


@pytest.mark.parametrize("batch", [1, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_exact_to_rounding_at_every_size(form, batch, dtype):
    sizes = np.concatenate([10.0 ** np.arange(-30, 5, 0.01), [0.0, math.inf, math.nan]])
    values = torch.from_numpy(np.concatenate([-sizes, sizes])).to(dtype)[:, None, None].expand(-1, batch, 1)
    matrices = torch.zeros(1, dtype=torch.int64), *(torch.tensor(part, dtype=dtype) for part in ([0.0], [[1.0]], [0.0]))
    seen = torch.empty(values.shape, dtype=torch.float64)
    echo_state_compiled.drive(matrices, 1.0, values, torch.zeros(1, batch, dtype=dtype), seen)
    first_nan = len(sizes) - 1  # from which on the state is NaN
    assert seen[first_nan:].isnan().all()
    expected = np.tanh(values[:first_nan].double().numpy())
    np.testing.assert_allclose(seen[:first_nan], expected, rtol=4 * torch.finfo(dtype).eps, atol=0)
    echo_state_compiled.drive(matrices, 1.0, values[len(sizes) : -1], torch.zeros(1, batch, dtype=dtype), seen)
    np.testing.assert_allclose(seen[:first_nan], -expected, rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("size", [1, 5, 6, 23, 24, 25, 48, 101])
@pytest.mark.parametrize("count", [1, 127, 129, 300])
def test_products_are_those_of_numpy(form, threads, size, count):
    draw = np.random.default_rng(0)
    rows, sums = draw.normal(size=(count, size)), draw.normal(size=(size, size))
    found = torch.from_numpy(sums.copy())
    add_products(found, torch.from_numpy(rows))
    np.testing.assert_allclose(np.tril(found), np.tril(sums + rows.T @ rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_a_network_without_them_is_the_same(form, monkeypatch, space, batch, dtype, tolerance):
    streams, compiled = streams_of(space, batch=batch), make(space, washout=20).to(dtype)
    plain = copy.deepcopy(compiled)
    learn(compiled, streams)
    take(None, monkeypatch)
    learn(plain, streams)
    torch.testing.assert_close(plain.readout.weight, compiled.readout.weight, rtol=0, atol=tolerance)
    torch.testing.assert_close(plain.readout.bias, compiled.readout.bias, rtol=0, atol=tolerance)


def test_blas_adds_the_products_where_vectors_are_short():
    wide = [form for form in FORMS if form != "any"]
    found = echo_state_compiled.products_library()
    assert (found is None) == (not wide) and (found is None or found is echo_state_compiled.library())
