"""The first symbol once more, after many that say nothing."""

from collections import Counter

import numpy as np

from pipeline.datasets.random_permutation import RandomPermutation


def test_the_first_of_two_symbols_is_asked_at_the_end():
    problem, first, others = RandomPermutation(lag=12, symbols=7, seed=0, episodes=10, held=2000), Counter(), Counter()
    for k in range(2000):
        inputs, targets, _ = problem.drawn("test", k)
        assert targets.tolist() == [7] * 11 + [inputs[0]] and len(inputs) == 12
        first[inputs[0]] += 1
        others.update(inputs[1:].tolist())
    assert set(first) == {0, 1} and abs(first[0] / 2000 - 0.5) < 0.05
    assert set(others) == {2, 3, 4, 5, 6} and np.abs(np.array([*others.values()]) / 22_000 - 0.2).max() < 0.015
    assert problem.reads == problem.answers and problem.criterion.met(9.0, 0.99) and not problem.criterion.met(0, 0.98)
