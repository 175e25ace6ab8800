"""Averages of models, against NumPy and scipy's optimizers."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from pipeline.models.mixture import NEWTON, Mixture
from pipeline.models.of_runs import mixing_weights
from tests.models.members import SPACES, V, delay_taps, in_windows, learn, lstm, ngram, probabilities, symbols

WINDOWS, BLANK = [7, 20, 13], [3, 4, 30]


def members():
    return [ngram(), delay_taps(), lstm()]


def mixture(average: str, networks) -> Mixture:
    return Mixture(*SPACES, ["a"] * len(networks), average, networks).double()


def text(streams: int = 2) -> torch.Tensor:
    return torch.stack([symbols(41, seed=20 + stream, unknown=True) for stream in range(streams)], dim=1)


def of_targets(x, blank=()) -> np.ndarray:
    """The members' log-probabilities of what is asked, [K, N], and of every symbol there, [K, N, V]."""
    p = np.stack([probabilities(one, x[:-1]) for one in members()])
    asked = (x[1:] < V).numpy()
    asked[list(blank)] = False
    every = np.log(p)[:, asked]
    return every[:, np.arange(every.shape[1]), x[1:].numpy()[asked]], every


def test_weights_are_the_likeliest_of_all():
    likelihoods = np.random.default_rng(0).gamma(0.5, size=(300, 3))
    weights = mixing_weights(torch.from_numpy(likelihoods * np.arange(1, 301)[:, None]))  # rows up to a factor

    def loss(w):
        return -np.log(likelihoods @ w).mean()

    steps = np.linspace(0, 1, 101)
    grid = [np.array([a, b, 1 - a - b]) for a in steps for b in steps if a + b <= 1]
    best = min(grid, key=loss)
    np.testing.assert_allclose(weights, best, atol=0.01)
    assert loss(weights.numpy()) <= loss(best) and weights.sum() == pytest.approx(1)


def test_a_member_that_is_never_better_has_no_weight():
    likelihoods = torch.rand(200, 1).double() * torch.tensor([[1.0, 0.7]]).double()
    np.testing.assert_allclose(mixing_weights(likelihoods), [1, 0], atol=1e-6)


def test_linear_predictions_are_the_weighted_sum_of_probabilities_in_any_windows():
    x, weights = text(), torch.tensor([0.2, 0.5, 0.3]).double()
    network = mixture("linear", members())
    network.weights.data.copy_(weights)
    expected = sum(w * probabilities(one, x) for w, one in zip(weights.numpy(), members()))
    state, found = network.start(2), []
    for piece in x.split([1, 12, 28]):
        z, state = network(piece, state)
        found.append(z.exp())
    np.testing.assert_allclose(torch.cat(found), expected, rtol=1e-12)


def test_linear_weights_and_loss_are_those_of_numpy():
    x, network = text(), mixture("linear", members())
    learn(network, in_windows(x, WINDOWS, BLANK), 1)
    p = np.exp(of_targets(x, BLANK)[0])

    def loss(free):  # softmax of two numbers and 0
        w = np.exp(np.append(free, 0))
        return -np.log(w @ p / w.sum()).mean()

    found = minimize(loss, np.zeros(2), tol=1e-12)
    expected = np.exp(np.append(found.x, 0))
    np.testing.assert_allclose(network.weights, expected / expected.sum(), atol=1e-4)
    assert learn(network, in_windows(x, WINDOWS, BLANK), 1) == pytest.approx(found.fun, rel=1e-7)


@pytest.mark.parametrize("twice", [False, True], ids=["", "one member twice"])
def test_log_linear_weights_are_where_the_loss_is_least(twice):
    x, networks = text(), members()
    network = mixture("log_linear", networks + networks[-1:] * twice)
    learn(network, in_windows(x, WINDOWS, BLANK), NEWTON)
    targets, every = of_targets(x, BLANK)

    def loss(w):
        return (np.log(np.exp(np.tensordot(w, every, 1)).sum(-1)) - w @ targets).mean()

    found = minimize(loss, np.full(3, 1 / 3), tol=1e-12)
    weights = network.weights.numpy()
    np.testing.assert_allclose([*weights[:2], weights[2:].sum()], found.x, rtol=1e-4)
    if twice:
        assert weights[2] == pytest.approx(weights[3])
    assert learn(network, in_windows(x, WINDOWS, BLANK), 1) == pytest.approx(found.fun, rel=1e-9)
