"""A cache, against a loop over all that was read."""

import numpy as np
import pytest
import torch

from pipeline.models.cache import Cache
from tests.models.members import SPACES, V, in_windows, learn, lstm, ngram, probabilities, symbols

SIZE = 6


def cache(network, size: int = SIZE, thetas=(0.0,)) -> Cache:
    return Cache(*SPACES, "a", size, list(thetas), [network]).double()


def text(streams: int = 2) -> torch.Tensor:
    return torch.stack([symbols(75, seed=stream, unknown=True) for stream in range(streams)], dim=1)


def cached(network, x, size: int, theta: float) -> np.ndarray:
    """[T, B, V]; zeros where nothing is in the cache. Before the first element units are 0."""
    votes, units = np.zeros((*x.shape, V)), np.zeros((len(x) + 1, x.shape[1], 1))
    if network.learned_by != ("count",):
        units = network.activities(x, network.start(x.shape[1]))[0][-1].detach().numpy()
        units = np.concatenate([np.zeros_like(units[:1]), units])
    for t in range(len(x)):
        for b in range(x.shape[1]):
            for i in range(max(0, t - size + 1), t + 1):
                if x[i, b] < V:
                    votes[t, b, x[i, b]] += np.exp(theta * units[t + 1, b] @ units[i, b])
    return votes / votes.sum(-1, keepdims=True).clip(1e-300)


def mixed(p: np.ndarray, votes: np.ndarray, mixing: float) -> np.ndarray:
    mixing = mixing * votes.any(-1, keepdims=True)
    return (1 - mixing) * p + mixing * votes


@pytest.mark.parametrize(
    "made, size, theta", [(lstm, SIZE, 0.0), (lstm, SIZE, 1.75), (lstm, 1, 0.5), (ngram, SIZE, 0.0), (lstm, 200, 2.0)]
)
def test_predictions_are_those_of_a_loop_in_any_windows(made, size, theta):
    network, x = cache(made(), size, [theta]), text()
    network.mixing.fill_(0.3)
    state, found = network.start(2), []
    for piece in x.split([1, 2, 40, 32]):
        z, state = network(piece, state)
        found.append(z.exp())
    expected = mixed(probabilities(made(), x), cached(made(), x, size, theta), 0.3)
    np.testing.assert_allclose(torch.cat(found), expected, rtol=1e-9)


def test_mixing_and_theta_are_the_best_of_all():
    x, thetas, blank = text(3), [0.0, 0.5, 4.0], [2, 60]
    network = cache(lstm(), SIZE, thetas)
    learn(network, in_windows(x, [30, 44], blank), 1)
    asked = (x[1:] < V).numpy()
    asked[blank] = False
    targets = x[1:].numpy()[asked]
    p, votes = probabilities(lstm(), x[:-1]), {theta: cached(lstm(), x[:-1], SIZE, theta) for theta in thetas}

    def loss(theta: float, mixing: float) -> float:
        both = mixed(p, votes[theta], mixing)[asked]
        return -np.log(both[np.arange(len(both)), targets]).mean()

    shares = np.linspace(0.02, 0.98, 49)
    best = min(((theta, share) for theta in thetas for share in shares), key=lambda one: loss(*one))
    assert network.theta.item() == best[0] and network.mixing.item() == pytest.approx(best[1], abs=0.02)
    found = learn(network, in_windows(x, [30, 44], blank), 1)
    assert found == pytest.approx(loss(network.theta.item(), network.mixing.item())) and found <= loss(*best)
