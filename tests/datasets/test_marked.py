"""Adding, multiplication and XOR, worked out anew from what is read."""

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch

from pipeline.datasets.adding import Adding
from pipeline.datasets.multiplication import Multiplication
from pipeline.datasets.space import Bits, Reals, Symbols
from pipeline.datasets.xor import Xor

MANY = 2000


def made(kind, form: str = "martens", lag: int = 24):
    return kind(lag, *([] if kind is Xor else [form]), seed=5, episodes=100, held=MANY)


@cache
def episodes(kind, form: str = "martens", lag: int = 24) -> list[tuple[np.ndarray, np.ndarray]]:
    problem = made(kind, form, lag)
    return [problem.drawn("test", k)[:2] for k in range(MANY)]


SUMS = {
    (Adding, "martens"): lambda x, y: (x + y) / 2,
    (Adding, "hochreiter"): lambda x, y: 0.5 + (x + y) / 4,
    (Multiplication, "martens"): lambda x, y: x * y,
    (Multiplication, "hochreiter"): lambda x, y: x * y,
    (Xor, "martens"): lambda x, y: (int(x) + int(y)) % 2,
}


@pytest.mark.parametrize("kind, form", SUMS, ids=lambda one: one if isinstance(one, str) else one.name)
def test_the_answer_is_that_of_the_two_marked_numbers_and_asked_at_the_end_alone(kind, form):
    problem, rare, classes = made(kind, form), 0, Counter()
    for inputs, targets in episodes(kind, form):
        blank = targets == 2 if kind is Xor else np.isnan(targets[:, 0])
        assert blank[:-1].all() and not blank[-1]
        marked = inputs[inputs[:, 1] == 1, 0].tolist()
        if form == "hochreiter":
            assert np.flatnonzero(inputs[:, 1] == -1).tolist() == [0, len(inputs) - 1]
            assert len(marked) in (1, 2) and np.count_nonzero(inputs[:, 1]) == 2 + len(marked)
            rare += len(marked) == 1
            marked += [1.0 if kind is Multiplication else 0.0] * (2 - len(marked))
        else:
            assert len(marked) == np.count_nonzero(inputs[:, 1]) == 2
        assert abs(targets[-1] - SUMS[kind, form](*marked)) < 1e-15
        classes[float(targets[-1].item())] += 1
    assert form == "martens" or 0.1 < rare / MANY < 0.22  # 1/10 + 9/10 * 1/11
    if kind is Xor:
        assert set(classes) == {0, 1} and abs(classes[1] / MANY - 0.5) < 0.05
    assert problem.longest == 26 and {len(inputs) for inputs, _ in episodes(kind, form)} == {24, 25, 26}


def places(kind) -> tuple[Counter, Counter]:
    first, second = Counter(), Counter()
    for inputs, _ in episodes(kind, lag=38):
        one, other = np.flatnonzero(inputs[:, 1] == 1)
        first[one, len(inputs)] += 1
        second[other, len(inputs)] += 1
    return first, second


@pytest.mark.parametrize("kind", [Adding, Multiplication, Xor])
def test_marks_of_2011_are_in_the_first_tenth_and_before_the_half(kind):
    """I in 0 .. T'/10 - 1, J in T'/10 .. T'/2 - 1, of the length T' of the episode, all alike."""
    first, second = places(kind)
    lengths = range(38, 42)
    assert first.keys() == {(t, length) for length in lengths for t in range(length // 10)}
    assert second.keys() == {(t, length) for length in lengths for t in range(length // 10, length // 2)}
    for found, choices in ((first, lambda n: n // 10), (second, lambda n: n // 2 - n // 10)):
        for (_, length), count in found.items():
            expected = MANY / 4 / choices(length)
            assert abs(count - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize("kind", [Adding, Multiplication])
def test_marks_of_1997_are_among_the_first_ten_and_the_first_half_of_the_others(kind):
    pairs = Counter()
    for inputs, _ in episodes(kind, "hochreiter", 40):
        pairs[tuple(np.flatnonzero(inputs[:, 1] == 1).tolist())] += 1
    seen = Counter()
    for one in range(10):  # the chances, by the paper's words
        for other in [t for t in range(40) if t != one][:19]:
            seen[tuple(sorted({one, other} - {0}))] += 1 / 190
    assert pairs.keys() == seen.keys() and sum(seen.values()) == pytest.approx(1)
    for pair, chance in seen.items():
        assert abs(pairs[pair] - MANY * chance) < 5 * math.sqrt(MANY * chance), pair
    few = episodes(kind, "hochreiter", 10)  # where the tenth pair may be the last
    assert max(np.flatnonzero(inputs[:, 1] == 1).max(initial=0) for inputs, _ in few) < 9


def test_numbers_are_uniform_in_the_interval_of_their_form():
    for kind, form, low, high in (
        (Adding, "martens", 0, 1),
        (Adding, "hochreiter", -1, 1),
        (Multiplication, "martens", 0, 1),
        (Multiplication, "hochreiter", 0, 1),
    ):
        numbers = np.concatenate([inputs[:, 0] for inputs, _ in episodes(kind, form)[:500]])
        filled, _ = np.histogram(numbers, 10, (low, high))
        assert low <= numbers.min() and numbers.max() <= high and filled.sum() == len(numbers)
        assert abs(filled / len(numbers) - 0.1).max() < 0.015
    bits = np.concatenate([inputs[:, 0] for inputs, _ in episodes(Xor)[:500]])
    assert set(bits) == {0, 1} and abs(bits.mean() - 0.5) < 0.02


def test_an_error_below_four_hundredths_is_right():
    assert Adding.answers == Multiplication.answers == Reals(1, tolerance=0.04) and Adding.reads == Reals(2)
    assert (Xor.reads, Xor.answers) == (Bits(2), Symbols(2, "class"))
    target = torch.tensor([[[0.5], [0.5], [math.nan]]])
    assert Adding.answers.right(torch.tensor([[[0.539], [0.541], [0.5]]]), target).tolist() == [[True, False, False]]


def test_solved_as_the_papers_say():
    martens = made(Adding).criterion
    assert martens == made(Multiplication).criterion == made(Xor).criterion
    assert martens.met(9.0, 0.99) and not martens.met(0.0, 0.9899)
    adding, multiplication = (made(kind, "hochreiter").criterion for kind in (Adding, Multiplication))
    assert adding.met(0.0099**2, 1.0) and not adding.met(0.0099**2, 1999 / 2000) and not adding.met(0.0101**2, 1.0)
    assert multiplication.met(9.0, 1988 / 2000) and not multiplication.met(0.0, 1987 / 2000)
