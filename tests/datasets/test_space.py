"""Losses, right answers and curvature against loops over single numbers and automatic differentiation."""

import math

import pytest
import torch
from torch import Tensor

from pipeline.datasets.space import Bits, Reals, Symbols

T, B = 4, 3


def loss_of(space, z: list[float], y) -> float:
    """Of one step's prediction: z [O], y a symbol or [O]."""
    if isinstance(space, Symbols):
        return 0.0 if y == space.count else math.log(sum(map(math.exp, z))) - z[y]
    if isinstance(space, Reals):
        return sum((a - b) ** 2 for a, b in zip(z, y) if b == b)
    p = [1 / (1 + math.exp(-a)) for a in z]
    return -sum(math.log(a if b else 1 - a) for a, b in zip(p, y) if b == b)


def right_of(space, z: list[float], y) -> bool:
    if isinstance(space, Symbols):
        return y != space.count and all(a <= z[y] for a in z)
    if not any(b == b for b in y):
        return False
    if isinstance(space, Reals):
        return all(abs(a - b) < space.tolerance for a, b in zip(z, y) if b == b)
    return all((a > 0) == (b == 1) for a, b in zip(z, y) if b == b)


def targets(space, seed: int) -> Tensor:
    """Random ones: step 0 of each sequence is blank, of the rest some entries are."""
    draw = torch.Generator().manual_seed(seed)
    y = space.blank(T, B)
    if isinstance(space, Symbols):
        y[1:] = torch.randint(space.count + 1, (T - 1, B), generator=draw)
        y[1, 0] = 0
        return y
    drawn = torch.rand(T, B, space.width, generator=draw, dtype=torch.float64)
    drawn = (drawn > 0.5).double() if isinstance(space, Bits) else drawn
    hidden = torch.rand(T, B, space.width, generator=draw) < 0.3
    hidden[0], hidden[1, 0] = True, False
    return torch.where(hidden, torch.nan, drawn)


SPACES = [Symbols(1), Symbols(5), Reals(1, tolerance=0.5), Reals(3, tolerance=0.7), Bits(1), Bits(4)]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_losses_right_answers_and_what_is_asked_step_by_step(space):
    rights = 0
    for seed in range(5):
        y, z = targets(space, seed), torch.randn(T, B, space.width, dtype=torch.float64)
        if seed == 0:  # near what is right
            near = (
                torch.nn.functional.one_hot(y % space.width, space.width)
                if isinstance(space, Symbols)
                else y.nan_to_num()
            )
            z = z / 10 + near
        cells = [(z[t, b].tolist(), y[t, b].tolist()) for t in range(T) for b in range(B)]
        assert space.loss(z, y).item() == pytest.approx(sum(loss_of(space, *cell) for cell in cells))
        expected = torch.tensor([right_of(space, *cell) for cell in cells]).view(T, B)
        assert torch.equal(space.right(z, y), expected)
        rights += expected.sum().item()
        blank = space.count if isinstance(space, Symbols) else math.nan
        entries = [one == one and one != blank for one in y.flatten().tolist()]
        assert space.entries(y).flatten().tolist() == entries and space.entries(y).shape == y.shape
        assert torch.equal(space.asked(y), torch.tensor(entries).view(T, B, -1).any(-1))
    assert 0 < rights < 5 * T * B


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_the_curvature_is_the_hessian_of_the_loss(space):
    y = targets(space, 1)
    z, dz = torch.randn(2, T, B, space.width, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda z: space.loss(z, y), z)
    product = torch.einsum("tboTBO,TBO->tbo", hessian, dz)
    found = space.curvature(z, dz, y)
    torch.testing.assert_close(found, product)
    assert (found[~space.asked(y)] == 0).all() and (found[0] == 0).all()
    assert space.width == 1 or found[1, 0].abs().min() > 0
    torch.testing.assert_close(space.curvature(z, 2 * dz, y), 2 * product)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_blanks_cost_nothing_and_ask_for_nothing(space):
    y, z = space.blank(T, B), torch.randn(T, B, space.width, dtype=torch.float64, requires_grad=True)
    assert not space.entries(y).any() and not space.asked(y).any() and not space.right(z, y).any()
    loss = space.loss(z, y)
    loss.backward()
    assert loss == 0 and (z.grad == 0).all()
    half = targets(space, 2)
    z.grad = None
    space.loss(z, half).backward()
    asked = space.asked(half)
    assert z.grad.isfinite().all() and (z.grad[~asked] == 0).all()
    zero = space.zero(2, 3)
    assert zero.shape[:2] == (2, 3) and (zero == (space.count if isinstance(space, Symbols) else 0)).all()


def test_nothing_says_what_is_right_without_a_tolerance():
    assert Reals(2).right(torch.zeros(T, B, 2), torch.zeros(T, B, 2)) is None


def test_a_unit_is_named_after_what_an_element_is():
    assert [Symbols(7, name).units.loss for name in ("byte", "char", "word")] == ["nats/byte", "nats/char", "nats/word"]
    assert Symbols(7).measured(math.log(2)) == pytest.approx({"nats": math.log(2), "bits": 1.0})
    assert [Symbols(7, name).units.perplexity(math.log(4)) for name in ("char", "word")] == ["", " (perplexity 4.0)"]
    assert Bits(2).units.loss == "nats/bit" and Bits(2).measured(math.log(4))["bits"] == pytest.approx(2)
    assert Reals(1).measured(0.25) == {"rmse": 0.5} and Reals(1).units.logarithmic


def test_one_is_no_plural():
    assert [str(space) for space in (Reals(1), Reals(2), Reals(2, driving=1))] == [
        "1 value",
        "2 values",
        "2 values, 1 of them driving",
    ]
    assert [str(space) for space in (Bits(1), Bits(88), Symbols(65))] == ["1 bit", "88 bits", "one of 65 chars"]
    assert str(Symbols(9, "class")) == "one of 9 classes"
