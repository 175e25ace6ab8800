"""Masks of dropout against torch's own, bit for bit: every form of masks.cpp that this processor can run."""

import types

import pytest
import torch
from torch.nn import functional as F

from pipeline.recurrence import forms, masks

FORMS = [form for form in forms.runnable() if masks.load(form)]
pytestmark = pytest.mark.skipif(not FORMS, reason="masks.cpp was not compiled: no C++ compiler at installation")


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    chosen = masks.load(request.param)
    assert masks.draws_as_torch(chosen)
    monkeypatch.setattr(masks, "library", lambda: chosen)


def both(draw, before=lambda: None):
    """What `draw` gives by either function, and what the generator gives after it."""
    for function in (masks.dropout, F.dropout):
        torch.manual_seed(7)
        before()
        yield draw(function), torch.randn(3, dtype=torch.double), torch.rand(4), torch.get_rng_state()


def assert_same(found):
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs) and ours.stride() == theirs.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [1e-9, 0.1, 1 / 3, 0.5, 0.9, 1 - 1e-9])
@pytest.mark.parametrize("size", [masks.FEW, 5001, 3 * 624, 7 * 624 + 313])
def test_masks_and_the_generator_after_them_are_those_of_torch(form, monkeypatch, dtype, p, size):
    monkeypatch.setattr(masks, "FEW", 0)
    x = torch.randn(size, dtype=dtype)
    assert_same(both(lambda dropout: dropout(x, p)))


@pytest.mark.parametrize("words", [1, 2, 311, 623, 624, 625])
def test_they_go_on_wherever_the_generator_is(form, words):
    x = torch.ones(3000)
    assert_same(both(lambda dropout: torch.stack([dropout(x, 0.3), dropout(x, 0.6)]), lambda: torch.rand(words)))


def test_what_is_kept_of_a_normal_number_stays(form):
    """torch.randn makes two numbers at once."""
    x = torch.ones(3000)
    assert_same(both(lambda dropout: dropout(x, 0.3), lambda: torch.randn(1, dtype=torch.double)))


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.transpose(0, 2),
        lambda x: x.permute(1, 2, 0),
        lambda x: x[:, ::2],
        lambda x: x[:, :1].expand(-1, 30, -1),
        lambda x: x.half(),
        lambda x: x[:0],
    ],
    ids=["transposed", "permuted", "every other", "expanded", "half", "nothing"],
)
def test_numbers_may_lie_in_any_order(form, layout):
    x = layout(torch.randn(20, 30, 40))
    assert_same(both(lambda dropout: dropout(x, 0.4)))


def test_gradients_are_those_of_torch(form):
    def gradient(dropout):
        x = torch.randn(60, 50, requires_grad=True)
        dropout(x, 0.2).square().sum().backward()
        return x.grad

    assert_same(both(gradient))


def test_torch_draws_where_its_numbers_would_be_others():
    assert not masks.draws_as_torch(types.SimpleNamespace(draw_mask=lambda *arguments: None))
