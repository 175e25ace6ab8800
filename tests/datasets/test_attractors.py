"""Patterns to be recalled from corrupted ones."""

from collections import Counter

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.attractors import Attractors
from pipeline.datasets.episodes import BLOCK

P, N = 7, 40


def problem(corruption=0.25, steps=5, asked=3, seed=3):
    return Attractors(P, N, corruption, steps, asked, seed, episodes=100, held=60)


def test_episodes_are_given_a_pattern_with_so_many_signs_turned_and_asked_the_pattern():
    data, turned, shown = problem(), np.zeros(N), Counter()
    patterns = {tuple(bits) for bits in data.stored.tolist()}
    assert len(patterns) == P and 0.3 < data.stored.mean() < 0.7
    for part in ("train", "test"):
        for k in range(BLOCK):
            inputs, targets, (given,) = data.drawn(part, k)
            assert inputs.shape == (5, 0) and given.shape == (N,) and set(given) == {-1.0, 1.0}
            assert np.isnan(targets[:-3]).all() and (targets[-3:] == targets[-1]).all()
            bits = tuple(targets[-1].astype(int).tolist())
            wrong = given != 2 * np.array(bits) - 1
            assert bits in patterns and wrong.sum() == 10
            turned += wrong
            shown[part, bits] += 1
    assert set(shown.values()) == {BLOCK // P, BLOCK // P + 1}
    share = turned / (2 * BLOCK)
    assert abs(share - 0.25).max() < 0.06  # four standard errors


@pytest.mark.parametrize("asked", [1, 5])
def test_it_is_asked_at_the_end_or_at_every_step(asked):
    data = problem(asked=asked)
    batch = data.training(4, None).at(2)
    assert data.answers.asked(batch.targets).sum(0).tolist() == [asked] * 4 and batch.count == 4 * asked * N


def test_patterns_are_those_of_the_seed_and_corruption_is_another_each_time():
    data, again, other = problem(), problem(corruption=0.0), problem(seed=4)
    assert (data.stored == again.stored).all() and not (data.stored == other.stored).all()
    one, two = (data.training(50, None).at(step) for step in (0, 1))
    assert not torch.equal(one.given[0], two.given[0])
    clean = data.corrupted(0.0, 20)
    [batch] = clean.held_out("test")
    assert (clean.stored == data.stored).all() and torch.equal(batch.given[0], 2 * batch.targets[-1] - 1)
    assert batch.inputs.shape == (5, 20, 0) and data.card["fingerprint"] != again.card["fingerprint"]


def test_what_is_asked_must_be_there():
    with pytest.raises(Refusal, match="^data.asked=6: an episode has data.steps=5: take so many at most"):
        problem(asked=6)
