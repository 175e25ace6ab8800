"""Layers of cells against cells one by one."""

import pytest
import torch

from pipeline.cells.gru import GRU
from pipeline.cells.lstm import LSTM
from pipeline.command.refusal import Refusal
from pipeline.recurrence import engines
from pipeline.recurrence.stack import Stack
from tests.conftest import needs_steps

T, B, D, H, L = 6, 3, 5, 4, 3


def stack(cell=LSTM, **options):
    torch.manual_seed(0)
    return Stack(cell, D, L, H, **options).double()


def random(*shape):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("engine", ["reference", "deferred", pytest.param("fused", marks=needs_steps)])
@pytest.mark.parametrize("x", [random(T, B, D), torch.arange(T * B).view(T, B) % (D + 1)])
def test_a_stack_is_its_cells_one_after_the_other(x, engine):
    layers = stack()
    layers.run_on("cpu", engine)
    state = (random(L, B, H), random(L, B, H))
    outputs, after = layers(x, state)
    assert len(outputs) == L and layers.width == H
    for layer, cell in enumerate(layers.cells):
        x, ends = engines.run(cell, x, tuple(part[layer] for part in state), "reference")
        torch.testing.assert_close(outputs[layer], x, rtol=1e-12, atol=1e-13)
        for part, end in zip(after, ends, strict=True):
            torch.testing.assert_close(part[layer], end, rtol=1e-12, atol=1e-13)


def test_it_draws_what_its_cells_draw_in_their_order():
    layers = stack(initial_state=0.5, learned_initial_state=True)
    torch.manual_seed(0)
    for layer, cell in enumerate(layers.cells):
        for ours, drawn in zip(cell.parameters(), LSTM(D if layer == 0 else H, H).parameters(), strict=True):
            assert torch.equal(ours, drawn.double())


def test_the_state_before_the_first_step_is_a_constant_or_learned():
    layers = stack(initial_state=0.5, learned_initial_state=True)
    assert [part.shape for part in layers.start(B)] == [(L, B, H)] * 2
    assert all((part == 0.5).all() for part in layers.start(B))
    outputs, _ = layers(random(T, B, D), layers.start(B))
    outputs[-1].square().sum().backward()
    assert all(part.grad.abs().min() > 0 for part in layers.initial)
    assert not any(part.requires_grad for part in stack(initial_state=0.5).start(B))


def test_what_no_draw_changes_is_set_last():
    layers = stack(lambda inputs, hidden: LSTM(inputs, hidden, forget_bias=1.0), initial_state=0.5)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.zero_()
    layers.finish_initialization()
    assert all((part == 0.5).all() for part in layers.initial)
    for cell in layers.cells:
        assert cell.input_bias.tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H


def test_dropout_acts_in_training_only_on_every_output_and_never_on_the_recurrence():
    layers, x = stack(GRU, dropout=0.5), random(T, B, D)
    (first, *_, last), (ends,) = layers(x, layers.start(B))
    whole, (undropped,) = layers.eval()(x, layers.start(B))
    kept = first != 0
    assert 0 < kept.sum() < kept.numel() and 0 < (last == 0).sum()
    torch.testing.assert_close(first[kept], 2 * whole[0][kept])
    assert torch.equal(ends[0], undropped[0]) and not torch.equal(ends[1], undropped[1])


@needs_steps
def test_how_it_is_run_is_settled_by_run_on():
    layers = stack()
    layers.run_on("cpu")
    assert layers.engine == "fused"
    layers.run_on("cuda", "library")
    assert layers.engine == "library"
    with pytest.raises(Refusal, match="trainer.engine=fast: take auto"):
        layers.run_on("cpu", "fast")
