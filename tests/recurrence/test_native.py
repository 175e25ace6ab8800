"""steps.cpp against NumPy: every form of it that this processor can run."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pipeline.recurrence import columns, engines, forms, native
from pipeline.recurrence.columns import Columns
from pipeline.recurrence.tables import Tables
from pipeline.recurrence.tape import Place
from tests.cells.test_cells import make
from tests.conftest import needs_steps

pytestmark = needs_steps
FORMS = [form for form in forms.runnable() if native.load(form)]


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    chosen = native.load(request.param)
    monkeypatch.setattr(native, "library", lambda: chosen)


@contextmanager
def shared_by(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def random(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
# B, N, K
@pytest.mark.parametrize(
    "shape", [(rows, 40, 33) for rows in range(1, 14)] + [(50, 128, 64), (3, 1, 7), (25, 96, 300), (2, 47, 1)]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_products_are_those_of_numpy(form, dtype, shape, threads):
    batch, rows, size = shape
    operand, added, matrix = (
        random(batch, size, dtype=dtype),
        random(batch, rows, dtype=dtype, seed=1),
        random(rows, size, dtype=dtype, seed=2),
    )
    with shared_by(threads):
        # The matrix by rows, or by columns.
        for sum_of, weight in ((added, matrix), (None, matrix.t().contiguous().t())):
            tape = Tables(Columns(torch.fx.Graph()), dtype)
            result = torch.full((batch, rows + 3), 7.0, dtype=dtype)  # whose rows are longer than the product
            tape.tensors |= {"operand": operand, "result": result, "added": added}
            tape.product(
                "line",
                Place("operand"),
                None if sum_of is None else Place("added"),
                Place("result", 2),
                "matrix",
                (rows, size),
            )
            tape.ready()
            tape.pack("matrix", weight)
            tape.run("line", 0, 1, 1, batch)
            expected = operand.double().numpy() @ matrix.double().numpy().T + (
                0 if sum_of is None else added.double().numpy()
            )
            tolerance = 1e-12 if dtype == torch.float64 else 1e-4
            np.testing.assert_allclose(result[:, 2:-1].numpy(), expected, rtol=tolerance, atol=tolerance)
            assert (result[:, :2] == 7).all() and (result[:, -1] == 7).all()  # and beyond which nothing is written


VALUES = [
    -np.inf,
    -1e4,
    -104.0,
    -90.0,
    -88.5,
    -30.0,
    -1.0,
    -0.3,
    -1e-3,
    -1e-20,
    -0.0,
    0.0,
    1e-20,
    1e-3,
    0.3,
    1.0,
    30.0,
    88.5,
    1e4,
    np.inf,
    np.nan,
]
FUNCTIONS = {
    columns.SCALE: lambda a: -1.5 * a,
    columns.ADD: lambda a, b: a - 1.5 * b,
    columns.MULTIPLY: lambda a, b: a * b,
    columns.ADD_PRODUCT: lambda a, b, c: a - 1.5 * b * c,
    columns.INTERPOLATE: lambda a, b, c: a + c * (b - a),
    columns.SIGMOID: lambda a: 1 / (1 + np.exp(-a)),
    columns.TANH: np.tanh,
    columns.RELU: lambda a: np.where(a < 0, 0, a),
    columns.SIGMOID_GRADIENT: lambda a, b: a * b * (1 - b),
    columns.TANH_GRADIENT: lambda a, b: a * (1 - b * b),
    columns.RELU_GRADIENT: lambda a, b: np.where(b <= 0, 0, a),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("code", FUNCTIONS)
def test_instructions_are_their_functions(form, dtype, code):
    function = FUNCTIONS[code]
    count = function.__code__.co_argcount if hasattr(function, "__code__") else 1
    width = 600  # more than a strip
    operands = [3 * random(2, width, dtype=dtype, seed=seed) for seed in range(count)]
    if count == 1:
        operands[0][0, : len(VALUES)] = torch.tensor(VALUES, dtype=dtype)
    given = Columns(torch.fx.Graph())
    rows = [given.given(width) for _ in range(count)]
    out = given.given(width)
    tape = Tables(given, dtype)
    for name, (row, operand) in enumerate(zip(rows, operands)):
        tape.located[int(row[0])] = Place(name)
        tape.tensors[name] = operand
    tape.located[int(out[0])] = Place("out")
    tape.tensors["out"] = torch.empty(2, width, dtype=dtype)
    tape.stage("line", [columns.Instruction(None, code, given.value(int(out[0])), rows, -1.5)])
    tape.ready()
    tape.run("line", 0, 1, 1, 2)
    with np.errstate(all="ignore"):
        expected = function(*(operand.double().numpy() for operand in operands))
    normal = np.abs(expected) > 1e-37  # below, float32 loses digits
    found = tape.tensors["out"].double().numpy()
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    if count > 1:
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=10 * tolerance)
    else:
        np.testing.assert_allclose(found[normal], expected[normal], rtol=tolerance)
        np.testing.assert_allclose(found, expected, atol=1e-37, rtol=tolerance)


def by_tape(function, operands):
    """A function of tensors [1, width], recorded and run as one stage; and the tape."""
    graph = make_fx(function, tracing_mode="fake")(*operands).graph
    found = Columns(graph)
    tape = Tables(found, torch.float64)
    for node, operand in zip((node for node in graph.nodes if node.op == "placeholder"), operands):
        tape.located[int(found.row(node)[0])] = Place(node)
        tape.tensors[node] = operand
    row = found.row(next(node for node in graph.nodes if node.op == "output").args[0])
    tape.tensors["out"] = torch.empty(1, len(row), dtype=torch.float64)
    tape.stage("line", found.instructions, after=tape.moves(row, Place("out")))
    tape.ready()
    tape.run("line", 0, 1, 1, 1)
    return tape.tensors["out"], tape


def test_registers_are_used_again_only_when_free():
    def function(a, b, c, d):
        return (a + b) * (c + d) + (a + c) * (b + d)

    operands = [random(1, 8, dtype=torch.float64, seed=seed) for seed in range(4)]
    found, tape = by_tape(function, operands)
    torch.testing.assert_close(found, function(*operands))
    assert tape.registers == 3


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: (1 - a) * b * 0.5 + 2 - b,  # numbers on either side
        # parts of four widths
        lambda a, b: torch.cat([a[:, 4:6], torch.tanh(b), torch.zeros_like(a)[:, :2], a[:, :4]], dim=1),
        lambda a, b: (a.view(1, 3, 4) * b.view(1, 3, 4)[:, :1]).sum(1),  # one for all, and a sum over them
        lambda a, b: torch.stack(torch.addcmul(a, b, a, value=-3).chunk(2, dim=1), dim=1).flatten(1),
        lambda a, b: (
            torch.sub(a, b, alpha=0.25).neg().unflatten(1, (2, 6)).sum(1, keepdim=True).expand(1, 2, 6).flatten(1)
            * torch.relu(a)
        ),
    ],
)
def test_traced_operators_do_what_they_did(function):
    operands = [random(1, 12, dtype=torch.float64, seed=seed) for seed in range(2)]
    torch.testing.assert_close(by_tape(function, operands)[0], function(*operands), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda a: torch.exp(a), "aten.exp.default in a step"),
        (lambda a: a.sum(0), "a sum over the batch"),
        (lambda a: a.view(1, 2, 6).sum((1, 2)), "or over several dimensions"),
    ],
)
def test_what_cannot_be_done_is_refused(function, message):
    with pytest.raises(columns.Unsupported, match=message):
        by_tape(function, [random(1, 12, dtype=torch.float64)])


# Sizes at which rows are cut into strips, batches into unequal shares, and matrices into panels of which the last is
# not full.
@pytest.mark.parametrize("name", ["lstm_peephole", "gru", "mut3", "mlstm", "lstm_fgr"])
@pytest.mark.parametrize("hidden, batch, threads", [(300, 7, 2), (37, 13, 1)])
def test_large_cells_learn_in_float32_what_the_reference_learns_in_float64(form, name, hidden, batch, threads):
    found = []
    with shared_by(threads):
        for way, dtype in (("fused", torch.float32), ("reference", torch.float64)):
            cell = make(name, 20, hidden)
            with torch.no_grad():
                for parameter in cell.parameters():
                    parameter.mul_(3 / hidden**0.5)
            cell = cell.to(dtype)
            x = torch.randint(0, 21, (9, batch), generator=torch.Generator().manual_seed(1))
            state = tuple(random(batch, width, dtype=dtype, seed=3).requires_grad_() for width in cell.state.values())
            outputs, ends = engines.run(cell, x, state, way)
            loss = sum((part * part).sum() for part in (outputs, *ends))
            found.append([outputs, *ends, *torch.autograd.grad(loss, [*cell.parameters(), *state])])
    for ours, theirs in zip(*found, strict=True):
        assert (ours.double() - theirs).abs().max() <= 2e-5 * theirs.abs().max()


def test_sequences_do_not_depend_on_how_many_share_the_batch_or_the_work(form):
    cell = make("lstm", 20, 48).float()
    x = torch.randint(0, 21, (9, 11), generator=torch.Generator().manual_seed(1))
    state = tuple(torch.zeros(11, width) for width in cell.state.values())
    whole, _ = engines.run(cell, x, state, "fused")
    alone, _ = engines.run(cell, x[:, 4:5], tuple(part[4:5] for part in state), "fused")
    with shared_by(2):
        shared, _ = engines.run(cell, x, state, "fused")
    torch.testing.assert_close(shared, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alone, whole[:, 4:5], rtol=1e-5, atol=1e-6)


def test_a_long_pass_without_gradients_is_one_pass(monkeypatch):
    monkeypatch.setattr(engines, "AT_ONCE", 4)
    cell, x = make("gru", 5), random(10, 3, 5, dtype=torch.float64)
    state = (random(3, 4, dtype=torch.float64, seed=1),)
    with torch.no_grad():
        outputs, (end,) = engines.run(cell, x, state, "fused")
    expected, (last,) = engines.run(cell, x, state, "reference")
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-13)
