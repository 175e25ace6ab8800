"""Hopfield network against outer products, single flips of units, and the energy."""

import itertools

import numpy as np
import pytest
import torch

from pipeline.datasets.attractors import Attractors
from pipeline.datasets.hello import Hello
from pipeline.models.hopfield import Hopfield

N = 30


def learned(patterns: int, corruption: float = 0.1, units: int = N, asked: int = 2) -> tuple[Hopfield, Attractors]:
    """A network that counted one pass, in which patterns are asked more than once, and not all as often."""
    data = Attractors(patterns, units, corruption, 3, asked, 1, 50, 60)
    network = Hopfield(data.reads, data.answers, data.given).double()
    batches = data.training(8, None)
    statistics = network.zero_statistics(batches.elements)
    for step in range(len(batches)):
        batch = batches.at(step)
        network.accumulate(statistics, batch, network.start(batch.inputs.shape[1], *batch.given))
    network.update(statistics)
    return network, data


@pytest.mark.parametrize("patterns, asked", [(1, 1), (4, 3)])
def test_weights_are_outer_products_of_each_pattern_once(patterns, asked):
    network, data = learned(patterns, asked=asked)
    expected = np.zeros((N, N))
    for pattern in data.stored:
        for i, j in itertools.permutations(range(N), 2):
            expected[i, j] += (1 if pattern[i] == pattern[j] else -1) / N
    np.testing.assert_allclose(network.weight, expected, atol=1e-15)
    assert network.count_parameters() == N * (N - 1) / 2


def test_units_are_updated_one_after_the_other_and_the_energy_never_rises():
    network, _ = learned(12)  # so many that it comes to rest elsewhere
    W = network.weight.numpy()
    torch.manual_seed(0)
    s = torch.randn(20, N, dtype=torch.double).sign()
    energy = lambda state: -sum(W[i, j] * state[i] * state[j] for i in range(N) for j in range(i))
    after, flips = network.updated(s), 0
    for k in range(len(s)):
        state = s[k].numpy().copy()
        assert network.energy(s[k : k + 1]).item() == pytest.approx(energy(state))
        for unit in range(N):
            field, before, was = W[unit] @ state, energy(state), state[unit]
            state[unit] = was if abs(field) < 1e-12 else np.sign(field)
            assert energy(state) <= before + 1e-12
            flips += state[unit] != was
        np.testing.assert_array_equal(after[k], state)
    assert flips > 20


def test_what_a_unit_hears_nothing_of_stays_and_the_given_state_is_left_alone():
    network, data = learned(1)
    network.weight[3] = network.weight[:, 3] = 0.0
    s = torch.ones(2, N, dtype=torch.double)
    s[1] = -1
    given = s.clone()
    (start,) = network.start(2, s)
    z, (after,) = network(torch.zeros(2, 2, 0), (start,))
    assert after[0, :, 3].tolist() == [1, -1] and not z[..., 3].any() and torch.equal(s, given)


def test_few_patterns_are_recalled_and_many_are_not():
    shares = []
    for patterns in (3, 30):
        network, data = learned(patterns, units=100, corruption=0.2)
        [batch] = data.held_out("test")
        z, (after,) = network(batch.inputs, network.start(60, *batch.given))
        recalled = (z[-1] > 0) == (batch.targets[-1] > 0.5)
        shares.append(recalled.all(1).double().mean().item())
        if patterns == 3:  # at rest, each unit agrees with its field
            assert torch.equal(after[0], z[-1].sign())
    assert shares == [1, 0]


def test_predictions_are_the_log_odds_of_a_unit_at_temperature_1():
    network, _ = learned(4)
    s = torch.randn(5, N, dtype=torch.double).sign()
    z, (after,) = network(torch.zeros(1, 5, 0), network.start(5, s))
    for unit in (0, 7):
        energies = []
        for sign in (1, -1):
            state = after[0].clone()
            state[:, unit] = sign
            energies.append(network.energy(state))
        torch.testing.assert_close(z[0, :, unit], energies[1] - energies[0])


def test_it_recalls_what_is_given_as_it_is_asked():
    _, data = learned(1)
    assert Hopfield.fits(data) is None and Hopfield.fits(Hello()).endswith("take data=attractors")
