"""Cells that a user may write: they run fused like the plain loop, or are refused."""

import pytest
import torch

from pipeline.cells.cell import Cell
from pipeline.command.refusal import Refusal
from pipeline.recurrence import engines
from tests.conftest import needs_steps

pytestmark = needs_steps


class Written(Cell):
    """state = formula(cell, x, state, product); as many products "a", "b" [H, H] and states of width H as asked for."""

    def __init__(self, inputs, hidden, formula, products=1, states=1):
        names = ["a", "b"][:products]
        super().__init__(
            inputs,
            hidden,
            dict.fromkeys(names, hidden),
            dict.fromkeys(names, (hidden, hidden)),
            {f"state{k}": hidden for k in range(states)},
        )
        self.formula = formula
        self.reset_parameters()

    def step(self, x, state, product):
        return self.formula(self, x, state, product)


def wide(cell, x, state, product):
    """Parts that begin inside others, in a stage of more than a strip."""
    (h,) = state
    a = torch.tanh(product("a", h))
    third = cell.hidden // 3
    b = a[:, third:] * 2 - a[:, :-third]
    return (torch.tanh(product("b", torch.cat([b, a[:, :third]], dim=1))) * a,)


FORMULAS = {
    "numbers": lambda cell, x, state, product: (
        (1 - state[0]) / 4 + 0.5 * torch.tanh(product("a", state[0])) - (torch.ones_like(state[0]) - 3) * 0.1,
    ),
    "parts": lambda cell, x, state, product: (
        torch.cat([part * k for k, part in enumerate(torch.tanh(product("a", state[0])).chunk(3, 1), 1)], 1),
    ),
    "exchanged": lambda cell, x, state, product: (
        (torch.tanh(product("a", state[0])).view(-1, 2, cell.hidden // 2).transpose(1, 2) * 0.5)
        .transpose(1, 2)
        .reshape(-1, cell.hidden),
    ),
    "one of several": lambda cell, x, state, product: (
        torch.tanh(product("a", state[0])).view(-1, 2, cell.hidden // 2)[:, 1].unsqueeze(1).expand(-1, 2, -1).flatten(1)
        + state[0] * 0.3,
    ),
    "no gradient": lambda cell, x, state, product: (
        torch.tanh(state[0]) + torch.tanh(product("a", state[0])).detach(),
    ),
    "a delay": lambda cell, x, state, product: (torch.tanh(product("a", state[0]) + state[1]), state[0]),
    "shifted": lambda cell, x, state, product: (
        torch.tanh(product("a", state[0]) + state[1]),
        torch.cat([state[1][:, 2:], state[0][:, :2]], 1),
    ),
}
STATES = {"a delay": 2, "shifted": 2}


def passes(cell, engine, x):
    """Outputs, states and gradients of all that there is."""
    state = tuple(
        torch.full((x.shape[1], width), 0.1, dtype=x.dtype, requires_grad=True) for width in cell.state.values()
    )
    x = x.clone().requires_grad_()
    outputs, ends = engines.run(cell, x, state, engine)
    loss = sum((part * torch.linspace(-1, 1, part.shape[-1], dtype=x.dtype)).sum() for part in (outputs, *ends))
    return [
        outputs,
        *ends,
        *torch.autograd.grad(loss, [*cell.parameters(), x, *state], allow_unused=True, materialize_grads=True),
    ]


# 600 is more than a strip; there "exchanged" and "shifted" have parts too narrow to be worth it.
@pytest.mark.parametrize(
    "name, hidden",
    [(name, 6) for name in FORMULAS] + [(name, 600) for name in FORMULAS if name not in ("exchanged", "shifted")],
)
def test_written_cells_run_fused_like_the_plain_loop(name, hidden):
    torch.manual_seed(0)
    cell = Written(5, hidden, FORMULAS[name], states=STATES.get(name, 1)).double()
    assert engines.choose_engine("auto", [cell], "cpu") == "fused"
    x = torch.randn(7, 3, 5, dtype=torch.double)
    for ours, theirs in zip(passes(cell, "fused", x), passes(cell, "reference", x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def test_parts_that_begin_inside_others_are_read_after_they_are_made():
    torch.manual_seed(0)
    cell = Written(5, 600, wide, products=2).double()
    x = torch.randn(7, 3, 5, dtype=torch.double)
    for ours, theirs in zip(passes(cell, "fused", x), passes(cell, "reference", x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def changed_in_place(cell, x, state, product):
    b = torch.tanh(product("a", state[0])) * 2
    v = b[:, :2]
    b.sub_(1.0)
    return (torch.cat([v, b[:, 2:]], dim=1),)


@pytest.mark.parametrize(
    "cell, message",
    [
        (Written(5, 6, changed_in_place), "aten.sub_.Tensor of what others read too in a step"),
        (
            Written(5, 128, lambda cell, x, state, product: (torch.sigmoid(product("a", state[0]))[:, :1] * state[0],)),
            "parts of 1 columns among many in a step",
        ),
        (
            Written(5, 6, lambda cell, x, state, product: (product("a", state[0]) / state[0],)),
            "a division by other than a number in a step",
        ),
    ],
)
def test_what_would_go_wrong_or_slowly_is_refused(cell, message):
    assert engines.choose_engine("auto", [cell], "cpu") == "deferred"
    with pytest.raises(Refusal, match=f"trainer.engine=fused: {message}"):
        engines.choose_engine("fused", [cell], "cpu")


def test_a_step_that_cannot_be_traced_runs_by_the_reference_alone():
    cell = Written(5, 6, lambda cell, x, state, product: (torch.tanh(product("a", state[0])) * cell.input_bias,))
    assert engines.choose_engine("reference", [cell], "cpu") == "reference"
    with pytest.raises(Refusal, match="the step of Written cannot be traced .*: take trainer.engine=reference"):
        engines.choose_engine("auto", [cell], "cpu")


def test_training_and_evaluation_are_traced_apart():
    cell = Written(
        5, 6, lambda cell, x, state, product: (torch.tanh(product("a", state[0])) * (1.0 if cell.training else 0.5),)
    ).double()
    x, state = torch.randn(4, 3, 5, dtype=torch.double), (torch.zeros(3, 6, dtype=torch.double),)
    for mode in (True, False, True):
        cell.train(mode)
        torch.testing.assert_close(engines.run(cell, x, state, "fused")[0], engines.run(cell, x, state, "reference")[0])


def test_a_weight_changed_before_the_backward_pass_is_an_error():
    cell = Written(5, 6, FORMULAS["numbers"])
    outputs, _ = engines.run(cell, torch.randn(4, 3, 5), (torch.zeros(3, 6),), "fused")
    with torch.no_grad():
        cell.recurrent["a"].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_numbers_of_two_types_are_an_error():
    cell = Written(5, 6, FORMULAS["numbers"]).double()
    with pytest.raises(TypeError, match="float64 among torch.float32"):
        engines.run(cell, torch.randn(4, 3, 5, dtype=torch.double), (torch.zeros(3, 6),), "fused")


@pytest.mark.parametrize("engine", ["fused", "deferred"])
def test_the_gradient_of_an_input_outlasts_the_next_pass(engine):
    class Bare(Written):
        def project(self, x):
            return {"a": x}

    cell = Bare(6, 6, FORMULAS["numbers"])
    x, state = torch.randn(4, 3, 6, requires_grad=True), (torch.zeros(3, 6),)
    [gradient] = torch.autograd.grad(engines.run(cell, x, state, engine)[0].sum(), x)
    kept = gradient.clone()
    engines.run(cell, x, state, engine)[0].mul(3).sum().backward()
    assert torch.equal(gradient, kept)


def test_passes_may_overlap_and_repeat():
    torch.manual_seed(0)
    cell, state = Written(5, 6, FORMULAS["parts"]).double(), (torch.zeros(3, 6, dtype=torch.double),)
    xs = [torch.randn(length, 3, 5, dtype=torch.double) for length in (7, 4)]
    found = {}
    for engine in ("fused", "reference"):
        # Two forward passes, then backward.
        losses = [engines.run(cell, x, state, engine)[0].square().sum() for x in xs]
        gradients = [torch.autograd.grad(loss, list(cell.parameters()), retain_graph=True) for loss in losses]
        found[engine] = [*gradients, *(torch.autograd.grad(loss, list(cell.parameters())) for loss in losses)]
    for ours, theirs in zip(found["fused"], found["reference"], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_what_is_not_a_number_stays_so():
    """Divergence shows."""
    cell = Written(
        5, 6, lambda cell, x, state, product: (torch.relu(product("a", state[0])) * 0.5 + torch.sigmoid(state[0]),)
    )
    x = torch.randn(4, 2, 5)
    x[1, 0, 0] = float("nan")
    outputs, _ = engines.run(cell, x, (torch.zeros(2, 6),), "fused")
    assert outputs[1:, 0].isnan().all() and not outputs[0].isnan().any() and not outputs[:, 1].isnan().any()
