"""Conjugate gradients beside a direct solution, and the papers' rules for what is kept and when it ends."""

import math

import pytest
import torch

from pipeline.learning.conjugate_gradient import conjugate_gradient


def system(size: int, condition: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A symmetric positive definite A, its eigenvalues from 1 to `condition`, and b."""
    draw = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=draw))
    values = torch.logspace(0, math.log10(condition), size, dtype=torch.float64)
    return basis @ torch.diag(values) @ basis.t(), torch.randn(size, dtype=torch.float64, generator=draw)


def phi(A, b, x):
    return (0.5 * x @ A @ x - b @ x).item()


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_it_solves_what_a_direct_solver_solves_in_as_many_steps_as_there_are_unknowns(preconditioned, warm):
    A, b = system(9, 30.0)
    start = torch.linalg.solve(A, b) + 0.1 if warm else torch.zeros(9, dtype=torch.float64)
    diagonal = A.diagonal() if preconditioned else torch.ones(9, dtype=torch.float64)
    *_, last = conjugate_gradient(lambda v: A @ v, b, start, diagonal, 9)
    torch.testing.assert_close(last.x, torch.linalg.solve(A, b), rtol=1e-9, atol=1e-9)
    assert last.value == pytest.approx(phi(A, b, last.x), rel=1e-12)


def test_its_iterates_are_those_of_krylovs_spaces():
    """x_i minimizes phi over x_0 + span{M^-1 r, (M^-1 A) M^-1 r, ..}, of i dimensions."""
    A, b = system(12, 1e4)
    start, diagonal = 0.5 * torch.linalg.solve(A, b), A.diagonal().sqrt()
    for step, x, value in conjugate_gradient(lambda v: A @ v, b, start, diagonal, 5):
        vectors = [(b - A @ start) / diagonal]
        for _ in range(step - 1):
            vectors.append(A @ vectors[-1] / diagonal)
        basis, _ = torch.linalg.qr(torch.stack(vectors, dim=1))
        best = start + basis @ torch.linalg.solve(basis.t() @ A @ basis, basis.t() @ (b - A @ start))
        torch.testing.assert_close(x, best, rtol=1e-7, atol=1e-9)
        assert value == pytest.approx(phi(A, b, best), rel=1e-9)


def test_kept_are_the_steps_that_are_powers_of_1_3_rounded_up_and_the_last_one():
    A, b = system(60, 1e8)
    one = torch.ones(60, dtype=torch.float64)
    assert [found.step for found in conjugate_gradient(lambda v: A @ v, b, 0 * one, one, 16)] == [
        1, 2, 3, 4, 5, 7, 9, 11, 14, 16
    ]  # fmt: skip


def test_it_ends_when_the_last_steps_gained_little():
    """By the definition, from all values: k = max(10, i/10), (phi_i - phi_{i-k}) / phi_i < 0.0005 k."""
    A, b = system(200, 3e4)
    zero, one = torch.zeros(200, dtype=torch.float64), torch.ones(200, dtype=torch.float64)
    *_, last = conjugate_gradient(lambda v: A @ v, b, zero, one, 1000)
    every = [conjugate_gradient(lambda v: A @ v, b, zero, one, most)[-1].value for most in range(1, last.step + 1)]
    values = [0.0, *every]
    ends = [
        i
        for i in range(1, last.step + 1)
        if i > (k := max(10, i // 10)) and (values[i] - values[i - k]) / values[i] < 0.0005 * k
    ]
    assert ends == [last.step] and 100 < last.step < 1000


def test_a_start_worse_than_0_is_left_for_0():
    A, b = system(9, 30.0)
    zero, one = torch.zeros(9, dtype=torch.float64), torch.ones(9, dtype=torch.float64)
    for start, better in ((torch.arange(9, dtype=torch.float64), zero), (torch.full_like(one, torch.inf), zero)):
        found, expected = (conjugate_gradient(lambda v: A @ v, b, x, one, 4) for x in (start, better))
        for ours, its in zip(found, expected, strict=True):
            assert ours.value == its.value and torch.equal(ours.x, its.x)


def test_at_the_minimum_nothing_is_done():
    A, b = system(5, 10.0)
    x = torch.zeros(5, dtype=torch.float64)
    assert conjugate_gradient(lambda v: A @ v, 0 * b, x, torch.ones(5, dtype=torch.float64), 30) == [(0, x, 0.0)]
