"""Hidden Markov model against enumeration of all paths, a naive forward-backward, and hmmlearn."""

import copy
import itertools
import math
import pickle
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.datasets.space import Reals, Symbols
from pipeline.datasets.text import TextWindows
from pipeline.models import hmm, hmm_compiled
from pipeline.models.emissions import FLOOR
from pipeline.models.hmm import HiddenMarkovModel
from pipeline.runs.settling import build, refuse_misfits
from tests.conftest import composed


class Window(NamedTuple):
    inputs: Tensor
    targets: Tensor
    carried: bool = False


def fresh(space, *settings):
    return HiddenMarkovModel(space, space, (), *settings)


def model(space, states, smoothing=0.0, floor=1e-6, precision="float64", seed=0):
    torch.manual_seed(seed)
    net = fresh(space, states, smoothing, floor, precision)
    if isinstance(space, Reals):  # as if its units had been found
        factor = torch.randn(states, space.width, space.width, dtype=torch.double)
        net.emission.covariance.copy_(factor @ factor.mT + 0.1 * torch.eye(space.width))
        net.emission.placed.fill_(True)
    return net


def elements(space, length, streams, missing=False, seed=1):
    """Random elements of which some are missing."""
    draw = torch.Generator().manual_seed(seed)
    if isinstance(space, Symbols):
        return torch.randint(space.count + missing, (length, streams), generator=draw)
    x = torch.randn(length, streams, space.width, dtype=torch.double, generator=draw)
    if missing:
        x[torch.rand(length, streams, generator=draw) < 0.2] = math.nan
    return x


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    """Whether expected counts of symbols are found by hmm.cpp."""
    if request.param == "torch":
        monkeypatch.setattr(hmm_compiled, "library", lambda: None)
    elif hmm_compiled.library() is None:
        pytest.skip("hmm.cpp was not compiled: no C++ compiler at installation")


def whole(x):
    return Window(x[:-1], x[1:])


def statistics_of(net, *windows):
    """One pass over streams -> statistics and loss."""
    sums, total = net.zero_statistics(0), 0.0
    for window in windows:
        if not window.carried:
            state = net.start(window.inputs.shape[1])
        state, loss = net.accumulate(sums, window, state)
        total += loss.item()
    return sums, total


def passes(net, count, *windows):
    """Learns; returns the losses of the passes."""
    losses = []
    for _ in range(count):
        sums, loss = statistics_of(net, *windows)
        net.update(sums)
        losses.append(loss)
    return losses


def numbers(net):
    return {name: value.detach().numpy().copy() for name, value in net.named_parameters()}


def log_emission(net, x):
    """log p(x_t | z_t) [T, N] of one stream, by scalar formulas."""
    p, rows = numbers(net), []
    for x_t in x:
        if isinstance(net.emission, hmm.Categorical):
            rows.append(
                [
                    0.0 if x_t == net.emission.symbols else math.log(p["emission.probability"][j, x_t])
                    for j in range(net.states)
                ]
            )
        else:
            d = [x_t.numpy() - mean for mean in p["emission.mean"]]
            rows.append(
                [
                    0.0
                    if x_t.isnan().any()
                    else -0.5 * (d_j @ np.linalg.inv(S) @ d_j + math.log(np.linalg.det(2 * math.pi * S)))
                    for d_j, S in zip(d, p["emission.covariance"])
                ]
            )
    return np.array(rows)


class Paths:
    """Everything about one short stream, by adding up over all N^T paths."""

    def __init__(self, initial, transition, emitted_TN):
        T, N = emitted_TN.shape
        self.total, self.best = 0.0, (-math.inf, None)
        self.state, self.pair = np.zeros((T, N)), np.zeros((T - 1, N, N))
        for path in itertools.product(range(N), repeat=T):
            log = math.log(initial[path[0]]) + sum(emitted_TN[t, z] for t, z in enumerate(path))
            log += sum(math.log(transition[i, j]) for i, j in zip(path, path[1:]))
            p = math.exp(log)
            self.total += p
            self.best = max(self.best, (log, path))
            for t, z in enumerate(path):
                self.state[t, z] += p
            for t, (i, j) in enumerate(zip(path, path[1:])):
                self.pair[t, i, j] += p
        self.state /= self.total
        self.pair /= self.total


def paths(net, x, initial=None):
    p = numbers(net)
    return Paths(p["initial"] if initial is None else initial, p["transition"], log_emission(net, x))


SPACES = [Symbols(4), Reals(1), Reals(2)]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("states, length", [(3, 6), (2, 9), (3, 1), (1, 5), (3, 4)])
def test_likelihood_posterior_and_best_path_are_those_of_all_paths(space, states, length):
    net, x = model(space, states), elements(space, length, 3, missing=True)
    log_p, posterior, (best, best_log_p) = net.log_likelihood(x), net.posterior(x), net.most_likely_states(x)
    for b in range(3):
        every = paths(net, x[:, b])
        assert log_p[b].item() == pytest.approx(math.log(every.total), rel=1e-12)
        np.testing.assert_allclose(posterior[:, b], every.state, rtol=1e-10, atol=1e-14)
        assert tuple(best[:, b].tolist()) == every.best[1] and best_log_p[b].item() == pytest.approx(
            every.best[0], rel=1e-12
        )


@pytest.mark.parametrize("states", [1, 3])
def test_next_symbols_distribution_is_a_ratio_of_likelihoods(states):
    V, net = 4, model(Symbols(4), states)
    x = torch.tensor([[2, 0], [4, 1], [3, 3], [0, 4], [1, 1]])  # 4: unknown
    logits, _ = net(x, net.start(2))
    for b, t in itertools.product(range(2), range(5)):
        past = x[: t + 1, b].tolist()
        for v in range(V):
            expected = paths(net, past + [v]).total / paths(net, past).total
            assert logits[t, b, v].exp().item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("space", SPACES[1:])
def test_next_values_mean_is_that_of_all_paths(space):
    net, x = model(space, 3), elements(space, 5, 2, missing=True)
    prediction, _ = net(x, net.start(2))
    p = numbers(net)
    for b, t in itertools.product(range(2), range(5)):
        filtered = paths(net, x[: t + 1, b]).state[-1]
        np.testing.assert_allclose(prediction[t, b], filtered @ p["transition"] @ p["emission.mean"], rtol=1e-11)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("missing", [False, True])
def test_statistics_of_whole_streams_are_expected_counts_over_all_paths(way, space, missing):
    T, B = 7, 3
    net, x = model(space, 3), elements(space, T, B, missing)
    sums, loss = statistics_of(net, whole(x))
    expected = {name: np.zeros(value.shape) for name, value in sums.items()}
    center, expected_loss = 0.0 if isinstance(space, Symbols) else numbers(net)["emission.mean"].mean(0), 0.0
    for b in range(B):
        seen = net.emission.observed(x[:, b])
        last = int(seen[1:].nonzero()[-1]) + 2  # what follows the last target is not counted
        every = paths(net, x[:last, b])
        expected["started"] += every.state[0]
        expected["moved"] += every.pair.sum(0)
        for t in range(last):
            if not seen[t]:
                continue
            if isinstance(space, Symbols):
                expected["emitted"][x[t, b]] += every.state[t]
            else:
                d = x[t, b].numpy() - center
                expected["weight"] += every.state[t]
                expected["first"] += every.state[t][:, None] * d
                expected["second"] += every.state[t][:, None, None] * np.outer(d, d)
            if t:
                filtered = paths(net, x[:t, b]).state[-1]
                if isinstance(space, Symbols):
                    expected_loss -= math.log(paths(net, x[: t + 1, b]).total / paths(net, x[:t, b]).total)
                else:
                    predicted = filtered @ numbers(net)["transition"] @ numbers(net)["emission.mean"]
                    expected_loss += ((x[t, b].numpy() - predicted) ** 2).sum()
    for name, value in sums.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-10, atol=1e-13, err_msg=name)
    assert loss == pytest.approx(expected_loss, rel=1e-11)


def naive(initial, transition, emitted_TN):
    """Forward-backward with logarithms, a state at a time:
    log p(x), posterior [T, N], sum of pair posteriors [N, N]."""
    T, N = emitted_TN.shape
    log_A, forward, backward = np.log(transition), np.zeros((T, N)), np.zeros((T, N))
    forward[0] = np.log(initial) + emitted_TN[0]
    for t in range(1, T):
        for j in range(N):
            forward[t, j] = np.logaddexp.reduce(forward[t - 1] + log_A[:, j]) + emitted_TN[t, j]
    for t in range(T - 2, -1, -1):
        for i in range(N):
            backward[t, i] = np.logaddexp.reduce(log_A[i] + emitted_TN[t + 1] + backward[t + 1])
    log_p = np.logaddexp.reduce(forward[-1])
    pairs = sum(np.exp(forward[t][:, None] + log_A + emitted_TN[t + 1] + backward[t + 1] - log_p) for t in range(T - 1))
    return log_p, np.exp(forward + backward - log_p), pairs


@pytest.mark.parametrize("states", [9, 10, 11, 12, 13])
@pytest.mark.parametrize("space", [Symbols(5), Reals(2)])
def test_many_states_and_steps(way, space, states):
    """Rows filled up to a width, and many scalings."""
    net, x = model(space, states), elements(space, 61, 2, missing=True)
    x[-1] = elements(space, 1, 2)[0]
    sums, _ = statistics_of(net, whole(x))
    every = [naive(numbers(net)["initial"], numbers(net)["transition"], log_emission(net, x[:, b])) for b in range(2)]
    np.testing.assert_allclose(net.log_likelihood(x), [one[0] for one in every], rtol=1e-12)
    np.testing.assert_allclose(net.posterior(x), np.stack([one[1] for one in every], axis=1), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(sums["moved"], sum(one[2] for one in every), rtol=1e-9)
    assert tuple(sums["started"].shape) == (states,)


@pytest.mark.parametrize("space", SPACES)
def test_parts_of_the_streams_change_nothing(way, space, monkeypatch):
    net, x = model(space, 3), elements(space, 11, 7, missing=True)
    expected, posterior, log_p = statistics_of(net, whole(x)), net.posterior(x), net.log_likelihood(x)
    monkeypatch.setattr(hmm, "CACHE", 6 * 8)  # two streams, or one, side by side
    found = statistics_of(net, whole(x))
    for name, value in expected[0].items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-12, atol=1e-13)
    assert found[1] == pytest.approx(expected[1], rel=1e-13)
    torch.testing.assert_close(net.posterior(x), posterior, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(net.log_likelihood(x), log_p, rtol=1e-13, atol=0)


@pytest.mark.parametrize("space", SPACES)
def test_windows_go_on_where_the_last_one_ended(space):
    net, x = model(space, 3), elements(space, 14, 3, missing=True)
    prediction, end = net(x[:-1], net.start(3))
    state, training, parts, sums, losses = net.start(3), net.start(3), [], net.zero_statistics(0), 0.0
    for first, last in ((0, 4), (4, 5), (5, 10), (10, 13)):
        part, state = net(x[first:last], state)
        training, loss = net.accumulate(sums, Window(x[first:last], x[first + 1 : last + 1], first > 0), training)
        torch.testing.assert_close(training[0], state[0], rtol=1e-12, atol=1e-14)
        parts.append(part)
        losses += loss.item()
    torch.testing.assert_close(torch.cat(parts), prediction, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(state[0], end[0], rtol=1e-12, atol=1e-14)
    assert losses == pytest.approx(statistics_of(net, whole(x))[1], rel=1e-12)


def test_a_window_is_smoothed_from_the_carried_state_to_its_own_end():
    """The documented approximation, against all paths of the window that begin in p(z | past)."""
    net, x = model(Symbols(4), 3), elements(Symbols(4), 10, 1)
    sums = net.zero_statistics(0)
    state, _ = net.accumulate(sums, Window(x[:5], x[1:6]), net.start(1))
    before = {name: value.clone() for name, value in sums.items()}
    net.accumulate(sums, Window(x[5:9], x[6:10], True), state)
    past = paths(net, x[:5, 0]).state[-1] @ numbers(net)["transition"]  # p(z_5 | x_0 .. x_4)
    every = paths(net, x[5:, 0], past)
    np.testing.assert_allclose(sums["moved"] - before["moved"], every.pair.sum(0), rtol=1e-10)
    emitted = np.zeros((4, 3))
    for t in range(6, 10):  # x_5 was counted as the last target before
        emitted[x[t, 0]] += every.state[t - 5]
    np.testing.assert_allclose(sums["emitted"] - before["emitted"], emitted, rtol=1e-10, atol=1e-14)
    assert torch.equal(sums["started"], before["started"])


@pytest.mark.parametrize("batch, length", [(1, 40), (7, 5), (7, 13), (3, 32)])
def test_a_pass_counts_every_start_transition_and_emission_once(batch, length):
    """Streams that end at different steps, in windows: the counts' sums are those of the text."""
    V, symbols = 5, np.random.default_rng(0).integers(5, size=97).astype(np.uint8)
    streams = TextWindows(symbols, V, batch, length)
    windows = [streams.at(step) for step in range(len(streams))]
    net = model(Symbols(V), 3)
    sums, loss = statistics_of(net, *windows)
    assert sums["started"].sum().item() == pytest.approx(batch, rel=1e-12)
    assert sums["moved"].sum().item() == pytest.approx(len(symbols) - 1, rel=1e-12)
    occurrences = np.bincount(symbols, minlength=V)
    for start in streams.starts[1:]:  # a stream's first symbol is the last target of the one before, too
        occurrences[symbols[start]] += 1
    np.testing.assert_allclose(sums["emitted"].sum(1), occurrences, rtol=1e-12)
    alone = [
        torch.from_numpy(symbols[start : start + steps + 1].astype(np.int64))[:, None]
        for start, steps in zip(streams.starts, streams.lengths)
    ]
    assert loss == pytest.approx(
        -sum((net.log_likelihood(x) - net.log_likelihood(x[:1])).item() for x in alone), rel=1e-12
    )
    joined, _ = statistics_of(
        net, Window(torch.cat([window.inputs for window in windows]), torch.cat([window.targets for window in windows]))
    )
    for name, value in joined.items():  # in one window, it is exact
        torch.testing.assert_close(
            value, sum(statistics_of(net, whole(x))[0][name] for x in alone), rtol=1e-11, atol=1e-12
        )


def test_inputs_that_are_no_targets_are_read_but_not_foretold():
    """A problem that scores its last symbols alone: all inputs before them are observations;
    what follows the last target is none."""
    V, net = 4, model(Symbols(4), 3)
    x = elements(Symbols(V), 8, 1)
    targets = x[1:].clone()
    targets[:4] = V
    sums, loss = statistics_of(net, Window(x[:-1], targets))
    expected, _ = statistics_of(net, whole(x))
    for name, value in sums.items():
        torch.testing.assert_close(value, expected[name])
    assert loss == pytest.approx(-(net.log_likelihood(x) - net.log_likelihood(x[:5])).item(), rel=1e-12)
    targets[5:] = V
    sums, _ = statistics_of(net, Window(x[:-1], targets))
    shorter, _ = statistics_of(net, whole(x[:6]))
    for name, value in sums.items():
        torch.testing.assert_close(value, shorter[name])
    after, _ = net.accumulate(net.zero_statistics(0), Window(x[:-1], targets), net.start(1))
    torch.testing.assert_close(after[0], net(x[:-1], net.start(1))[1][0])  # all inputs are read for what comes next


@pytest.mark.parametrize("space", SPACES)
def test_two_shares_add_up_to_the_whole(space):
    net, x = model(space, 3), elements(space, 9, 6, missing=True)
    (left, loss), (right, more), (both, total) = (statistics_of(net, whole(part)) for part in (x[:, :2], x[:, 2:], x))
    for name, value in both.items():
        torch.testing.assert_close(left[name] + right[name], value, rtol=1e-12, atol=1e-13)
    assert loss + more == pytest.approx(total, rel=1e-12)


# Learning


def penalized(net, x):
    """What EM raises: log p(x) and the logs of the priors' densities, which count `smoothing` observations more."""
    p = {name: torch.from_numpy(value) for name, value in numbers(net).items()}
    total = net.log_likelihood(x).sum()
    logs = [p["initial"].log().sum(), p["transition"].log().sum()]
    if isinstance(net.emission, hmm.Categorical):
        logs.append(p["emission.probability"].log().sum())
    else:
        seen = x[~x.isnan().any(-1)]
        m, S = seen.mean(0), seen.t().cov(correction=0).reshape(net.emission.dimension, -1)
        for mean, covariance in zip(p["emission.mean"], p["emission.covariance"]):
            d = (m - mean)[:, None]
            logs.append(
                -0.5
                * (torch.linalg.slogdet(covariance)[1] + torch.trace(torch.linalg.inv(covariance) @ (S + d @ d.t())))
            )
    return (total + net.smoothing * sum(logs)).item()


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("missing", [False, True])
def test_em_never_lowers_the_likelihood(space, smoothing, missing):
    x = elements(space, 40, 5, missing)
    stays = torch.rand(39, 3, generator=torch.Generator().manual_seed(0)) < 0.7
    x[1:, ::2] = torch.where(stays.view(39, 3, *[1] * (x.ndim - 2)), x[:-1, ::2], x[1:, ::2])
    x[-1] = elements(space, 1, 5)[0]
    net = model(space, 4, smoothing)
    found = [penalized(net, x)]
    for _ in range(40):
        passes(net, 1, whole(x))
        found.append(penalized(net, x))
    steps = np.diff(found)
    assert steps.min() > -1e-5 * smoothing - 1e-9 * abs(found[0]), steps.min()  # FLOOR is all that may lower it
    assert found[-1] > found[0] + 5


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_one_state_is_the_unigram(smoothing):
    V, x = 6, elements(Symbols(5), 30, 4)  # symbol 5 never occurs
    net = model(Symbols(V), 1, smoothing)
    passes(net, 2, whole(x))
    expected = (np.bincount(x.flatten(), minlength=V) + smoothing) / (x.numel() + V * smoothing)
    np.testing.assert_allclose(numbers(net)["emission.probability"][0], np.maximum(expected, FLOOR), rtol=1e-6)
    logits, _ = net(x, net.start(4))
    np.testing.assert_allclose(logits.exp(), np.broadcast_to(np.maximum(expected, FLOOR), (30, 4, V)), rtol=1e-6)


def test_one_gaussian_state_is_mean_and_covariance():
    x = 3 * elements(Reals(2), 50, 4) + torch.tensor([5.0, -2.0])
    torch.manual_seed(0)
    net = fresh(Reals(2), 1, 0.0, 1e-6, "float64")
    assert passes(net, 3, whole(x))[0] == 0  # the first pass finds the units
    np.testing.assert_allclose(numbers(net)["emission.mean"][0], x.flatten(0, 1).mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        numbers(net)["emission.covariance"][0], x.flatten(0, 1).t().cov(correction=0), rtol=1e-11
    )


def best_order(distances):
    """The permutation of states with the least sum of distances [N, N]."""
    N = len(distances)
    return list(
        min(itertools.permutations(range(N)), key=lambda order: sum(distances[i, j] for i, j in enumerate(order)))
    )


@pytest.mark.parametrize("space", [Symbols(4), Reals(2)])
def test_a_known_model_is_found_again_from_its_samples(space):
    true = model(space, 3)
    true.initial.copy_(torch.tensor([0.6, 0.3, 0.1]))
    true.transition.copy_(torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]]))
    if isinstance(space, Symbols):
        true.emission.probability.copy_(
            torch.tensor([[0.85, 0.05, 0.05, 0.05], [0.05, 0.75, 0.15, 0.05], [0.05, 0.05, 0.1, 0.8]])
        )
    else:
        true.emission.mean.copy_(torch.tensor([[0.0, 0.0], [3.0, 1.0], [-1.0, 4.0]]))
        true.emission.covariance.copy_(
            torch.tensor([[[1.0, 0.5], [0.5, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[1.0, -0.3], [-0.3, 0.5]]])
        )
    x, _ = true.sample(true.start(600), 40, torch.Generator().manual_seed(3))
    torch.manual_seed(4)
    net = fresh(space, 3, 0.01, 1e-6, "float64")
    passes(net, 120 if isinstance(space, Symbols) else 30, whole(x))
    ours, theirs = numbers(net), numbers(true)
    key = "emission.probability" if isinstance(space, Symbols) else "emission.mean"
    order = best_order(np.linalg.norm(theirs[key][:, None] - ours[key], axis=-1))
    tolerance = 0.03 if isinstance(space, Symbols) else 0.07
    np.testing.assert_allclose(ours["initial"][order], theirs["initial"], atol=0.05)
    np.testing.assert_allclose(ours["transition"][np.ix_(order, order)], theirs["transition"], atol=0.03)
    for name in theirs:
        if name.startswith("emission"):
            np.testing.assert_allclose(ours[name][order], theirs[name], atol=tolerance)
    # Of the sample, the learned model is the likelier one.
    assert net.log_likelihood(x).sum() > true.log_likelihood(x).sum()


def test_what_is_learned_does_not_depend_on_the_series_units():
    x = elements(Reals(2), 60, 3, missing=True)
    x[1:] += 2 * x[:-1].nan_to_num()
    scale, shift = torch.tensor([100.0, 0.1]), torch.tensor([1e5, -5.0])
    found = []
    for series in (x, scale * x + shift):
        torch.manual_seed(0)
        net = fresh(Reals(2), 3, 0.1, 1e-12, "float64")
        passes(net, 6, whole(series))
        found.append(numbers(net))
    ours, theirs = found
    for name in ("initial", "transition"):
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        (theirs["emission.mean"] - shift.numpy()) / scale.numpy(), ours["emission.mean"], atol=1e-4
    )
    np.testing.assert_allclose(
        theirs["emission.covariance"] / torch.outer(scale, scale).numpy(), ours["emission.covariance"], atol=1e-3
    )


@pytest.mark.parametrize("space", [Symbols(20), Reals(1)])
@pytest.mark.parametrize("kind", ["random", "persistent"])
def test_float32_recursions_agree_to_1e5(way, space, kind):
    """After five passes, and on 3,000 steps that forget nothing: rounding does not add up."""
    found = []
    for precision in ("float64", "float32"):
        net = model(space, 12, 0.01, precision=precision)
        if kind == "persistent":
            net.transition.copy_(0.99999 * torch.eye(12) + 1e-5 / 12)
        x = elements(space, 3000, 4)
        losses = passes(net, 5, whole(x))
        found.append((numbers(net), losses))
    (ours, losses), (theirs, expected) = found[1], found[0]
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-5 * abs(value).max())
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_float32_rounding_does_not_add_up_over_a_long_stream(way):
    """Posteriors add up to 1 at every step; the errors of 50,000 steps would be seen."""
    net, x = model(Symbols(5), 3, precision="float32"), elements(Symbols(5), 50_001, 1)
    sums, _ = statistics_of(net, whole(x))
    assert sums["started"].sum().item() == pytest.approx(1, abs=2e-6)
    assert sums["moved"].sum().item() == pytest.approx(50_000, rel=2e-6)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_no_scaling_over_or_underflows(way, precision):
    """The least probabilities there can be, against every symbol: a cycle that the text runs through backward."""
    N = 5
    net = model(Symbols(N), N, precision=precision)
    floor = FLOOR / (1 + N * FLOOR)
    net.transition.copy_(torch.eye(N).roll(1, dims=1) * (1 - N * floor) + floor)
    net.emission.probability.copy_(torch.eye(N) * (1 - N * floor) + floor)
    x = torch.arange(40).flip(0).remainder(N)[:, None].repeat(1, 2)
    sums, loss = statistics_of(net, whole(x))
    log_p, _, pairs = naive(numbers(net)["initial"], numbers(net)["transition"], log_emission(net, x[:, 0]))
    assert loss == pytest.approx(-2 * (log_p - net.log_likelihood(x[:1])[0].item()), rel=1e-6)
    np.testing.assert_allclose(sums["moved"], 2 * pairs, rtol=1e-4, atol=1e-5)


# hmmlearn


def small_problem():
    """Three streams of 20 symbols and parameters, by integer arithmetic."""
    x = torch.tensor([[(7 * t * t + 3 * t * b + b) % 11 % 4 for b in range(3)] for t in range(20)])
    rows = lambda N, M, k: torch.tensor(
        [[(3 * i + 5 * j + i * j + k) % 7 + 1 for j in range(M)] for i in range(N)], dtype=torch.double
    )
    initial, transition, probability = rows(1, 3, 0)[0], rows(3, 3, 1), rows(3, 4, 2)
    return (
        x,
        initial / initial.sum(),
        transition / transition.sum(1, keepdim=True),
        probability / probability.sum(1, keepdim=True),
    )


def with_parameters(net, initial, transition, *emission):
    net.initial.copy_(initial)
    net.transition.copy_(transition)
    for parameter, value in zip(net.emission.parameters(), emission, strict=True):
        parameter.copy_(value)
    return net


def test_a_small_problem_ends_at_hmmlearns_numbers():
    """CategoricalHMM of hmmlearn 0.3.3: score, the first stream's best path's,
    predict_proba of its first steps, and four steps of fit."""
    x, *parameters = small_problem()
    net = with_parameters(model(Symbols(4), 3), *parameters)
    assert net.log_likelihood(x).sum().item() == pytest.approx(-80.73204118405847, rel=1e-13)
    assert net.most_likely_states(x[:, :1])[1].item() == pytest.approx(-40.738086643185824, rel=1e-13)
    np.testing.assert_allclose(
        net.posterior(x)[:3, 0],
        [
            [0.063763405738, 0.623556853305, 0.312679740957],
            [0.406863967777, 0.274101653309, 0.319034378914],
            [0.425953469936, 0.301023868357, 0.273022661706],
        ],
        atol=1e-12,
    )
    for expected in (-80.73204118405847, -78.56885123427735, -78.51578657465257, -78.47589480223733):
        assert net.log_likelihood(x).sum().item() == pytest.approx(expected, rel=1e-12)
        passes(net, 1, whole(x))
    assert net.log_likelihood(x).sum().item() == pytest.approx(-78.44171454938375, rel=1e-12)
    found = numbers(net)
    np.testing.assert_allclose(found["initial"], [0.052834820277, 0.639189276045, 0.307975903678], atol=1e-12)
    np.testing.assert_allclose(
        found["transition"],
        [
            [0.192944034229, 0.449543244005, 0.357512721766],
            [0.398008245379, 0.347916658732, 0.25407509589],
            [0.340323821438, 0.333814504987, 0.325861673574],
        ],
        atol=1e-12,
    )
    np.testing.assert_allclose(
        found["emission.probability"],
        [
            [0.247000197368, 0.057185123919, 0.484907599113, 0.210907079599],
            [0.359589657482, 0.175193785703, 0.325320354561, 0.139896202253],
            [0.277303288236, 0.155866196418, 0.356017999118, 0.210812516228],
        ],
        atol=1e-12,
    )


def peers(kind, **options):
    hmmlearn = pytest.importorskip("hmmlearn.hmm", reason="hmmlearn, a peer for comparison, is not installed")
    return getattr(hmmlearn, kind)(init_params="", tol=-math.inf, **options)


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-9), ("float32", 1e-5)])
def test_baum_welch_gives_what_hmmlearn_gives(precision, tolerance):
    N, V, T, B, steps, smoothing = 10, 30, 200, 20, 5, 0.5
    net, x = model(Symbols(V), N, smoothing, precision=precision), elements(Symbols(V), T, B)
    x[1:] = torch.where(x[1:] % 3 == 0, (x[:-1] + 1) % V, x[1:])
    prior = 1 + smoothing
    peer = peers(
        "CategoricalHMM",
        n_components=N,
        n_features=V,
        n_iter=steps,
        startprob_prior=prior,
        transmat_prior=prior,
        emissionprob_prior=prior,
    )
    start = numbers(net)
    peer.startprob_, peer.transmat_, peer.emissionprob_ = (
        start["initial"],
        start["transition"],
        start["emission.probability"],
    )
    X, lengths = x.t().reshape(-1, 1).numpy(), [T] * B
    log_p = net.log_likelihood(x)
    assert log_p.sum().item() == pytest.approx(peer.score(X, lengths), rel=1e-12)
    path, best = net.most_likely_states(x)
    expected, states = peer.decode(X, lengths)
    assert best.sum().item() == pytest.approx(expected, rel=1e-12)
    assert (path.t().flatten().numpy() == states).mean() > 0.999  # two orders of the same pairs are equally likely
    np.testing.assert_allclose(
        net.posterior(x).transpose(0, 1).flatten(0, 1), peer.predict_proba(X, lengths), atol=1e-12
    )
    peer.fit(X, lengths)
    passes(net, steps, whole(x))
    for name, value in zip(
        ("initial", "transition", "emission.probability"), (peer.startprob_, peer.transmat_, peer.emissionprob_)
    ):
        np.testing.assert_allclose(numbers(net)[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def test_gaussians_learn_what_hmmlearns_learn():
    N, D, T, B, steps, smoothing = 4, 2, 100, 6, 5, 0.5
    net, x = model(Reals(D), N, smoothing), elements(Reals(D), T, B)
    x[1:] += 1.5 * x[:-1].sign()
    every = x.flatten(0, 1)
    mean, covariance = every.mean(0).numpy(), every.t().cov(correction=0).numpy()
    peer = peers(
        "GaussianHMM",
        n_components=N,
        n_iter=steps,
        covariance_type="full",
        startprob_prior=1 + smoothing,
        transmat_prior=1 + smoothing,
        means_prior=mean,
        means_weight=smoothing,
        covars_prior=smoothing * covariance,
        covars_weight=smoothing + D,
    )
    start = numbers(net)
    peer.startprob_, peer.transmat_, peer.means_, peer.covars_ = start.values()
    X, lengths = x.transpose(0, 1).flatten(0, 1).numpy(), [T] * B
    assert net.log_likelihood(x).sum().item() == pytest.approx(peer.score(X, lengths), rel=1e-12)
    peer.fit(X, lengths)
    passes(net, steps, whole(x))
    found = numbers(net)
    for name, value in zip(start, (peer.startprob_, peer.transmat_, peer.means_, peer.covars_)):
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-9, err_msg=name)


# Input that is short of everything


def finite(net):
    return all(parameter.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("smoothing", [0.0, 0.01])
@pytest.mark.parametrize("space", SPACES)
def test_more_states_than_data(way, space, smoothing, precision):
    net, x = model(space, 30, smoothing, precision=precision), elements(space, 4, 1)
    losses = passes(net, 20, whole(x))
    assert finite(net) and np.isfinite(losses).all() and losses[-1] < losses[0]
    prediction, state = net(x, net.start(1))
    assert prediction.isfinite().all() and state[0].isfinite().all()
    for distribution in (net.initial, net.transition):
        torch.testing.assert_close(distribution.sum(-1), torch.ones_like(distribution.sum(-1)))


@pytest.mark.parametrize("value", [0.0, 1.0, -1e6, 1e-9, 0.1])
@pytest.mark.parametrize("smoothing", [0.0, 0.01])
def test_a_constant_series_is_foretold_exactly(value, smoothing):
    x = torch.full((50, 2, 2), value, dtype=torch.double)
    torch.manual_seed(0)
    net = fresh(Reals(2), 3, smoothing, 1e-6, "float64")
    passes(net, 5, whole(x))
    prediction, _ = net(x, net.start(2))
    torch.testing.assert_close(prediction, x, rtol=1e-9, atol=1e-2 if smoothing == 0 else 1e-9)
    assert finite(net) and torch.linalg.eigvalsh(net.emission.covariance).min() > 0.99e-6


def test_channels_that_are_copies_have_the_floor_as_least_eigenvalue():
    x = elements(Reals(1), 200, 2).repeat(1, 1, 2)
    torch.manual_seed(0)
    net = fresh(Reals(2), 2, 0.01, 1e-4, "float64")
    passes(net, 10, whole(x))
    least = torch.linalg.eigvalsh(net.emission.covariance)[:, 0]
    torch.testing.assert_close(
        least, torch.full_like(least, 1e-4 * x.flatten(0, 1).var(0, correction=0).mean().item()), rtol=1e-6, atol=0
    )
    assert net.log_likelihood(x).isfinite().all()


def test_a_symbol_that_was_never_seen_has_a_small_probability():
    net, x = model(Symbols(6), 3, 0.01), elements(Symbols(5), 100, 4)
    passes(net, 10, whole(x))
    logits, _ = net(torch.full((3, 1), 5), net.start(1))
    assert (logits[..., 5] < -6).all() and (logits[..., 5] >= math.log(FLOOR) - 1e-3).all()
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(3, 1, dtype=torch.double))


@pytest.mark.parametrize("space, missing", [(Symbols(4), 4), (Reals(2), math.nan), (Reals(2), math.inf)])
@pytest.mark.parametrize("smoothing", [0.0, 0.01])
def test_nothing_observed(way, space, missing, smoothing):
    net = model(space, 3, smoothing)
    x = torch.full_like(elements(space, 9, 2), missing)
    before = numbers(net)
    sums, loss = statistics_of(net, whole(x))
    assert loss == 0 and all((value == 0).all() for value in sums.values())
    net.update(sums)
    for name, value in numbers(net).items():
        if smoothing == 0 or name in ("emission.mean", "emission.covariance"):
            np.testing.assert_allclose(value, before[name], rtol=1e-6)
        else:
            np.testing.assert_allclose(value, 1 / value.shape[-1])  # the prior's
    assert net.log_likelihood(x).abs().max() < 1e-12
    np.testing.assert_allclose(net.posterior(x)[0, 0], numbers(net)["initial"])
    prediction, _ = net(x, net.start(2))
    assert prediction.isfinite().all()


def test_an_outlier_beyond_all_densities_is_no_nan():
    x = elements(Reals(1), 100, 1)
    x[50] = 1e200
    net = model(Reals(1), 3, 0.01)
    assert (
        net.log_likelihood(x).isfinite().all()
        and net.posterior(x).isfinite().all()
        and net(x, net.start(1))[0].isfinite().all()
    )
    x[50] = 1e8
    losses = passes(net, 3, whole(x))
    assert finite(net) and np.isfinite(losses).all()


# What it is for others


@pytest.mark.parametrize("space", [Symbols(3), Reals(1)])
def test_samples_are_drawn_from_the_model(space):
    net, count = model(space, 2), 20_000
    x, z = net.sample(net.start(count), 3, torch.Generator().manual_seed(0))
    p = numbers(net)
    state = p["initial"]
    for t in range(3):
        np.testing.assert_allclose(np.bincount(z[t], minlength=2) / count, state, atol=0.015)
        if isinstance(space, Symbols):
            np.testing.assert_allclose(
                np.bincount(x[t], minlength=3) / count, state @ p["emission.probability"], atol=0.015
            )
        else:
            for j in range(2):
                own = x[t][z[t] == j]
                np.testing.assert_allclose(
                    (own.mean(), own.var()), (p["emission.mean"][j, 0], p["emission.covariance"][j, 0, 0]), atol=0.2
                )
        state = state @ p["transition"]
    pairs = np.bincount(2 * z[0] + z[1], minlength=4).reshape(2, 2)
    np.testing.assert_allclose(pairs / pairs.sum(1, keepdims=True), p["transition"], atol=0.03)
    again, _ = net.sample(net.start(count), 3, torch.Generator().manual_seed(0))
    assert torch.equal(x, again)


@pytest.mark.parametrize("space", [Symbols(4), Reals(2)])
def test_a_fresh_model_takes_a_saved_ones_place(space):
    torch.manual_seed(0)
    net = fresh(space, 3, 0.01, 1e-6, "float64")
    x = elements(space, 20, 2)
    passes(net, 2, whole(x))
    torch.manual_seed(9)
    other = fresh(space, 3, 0.01, 1e-6, "float64")
    assert not torch.equal(other.transition, net.transition)
    other.load_state_dict(net.state_dict())
    for _ in range(2):
        assert passes(other, 1, whole(x)) == passes(net, 1, whole(x))
    assert torch.equal(other(x, other.start(2))[0], net(x, net.start(2))[0])
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_memory_to_compute_in_is_no_part_of_it():
    net, x = model(Symbols(4), 3), elements(Symbols(4), 500, 20)
    with torch.inference_mode():
        inferred = net(x, net.start(20))[0].clone()
    prediction, _ = net(x, net.start(20))
    assert torch.equal(inferred, prediction) and len(pickle.dumps(net)) < 10_000
    before = prediction.clone()
    net.log_likelihood(x.flip(0))
    assert torch.equal(prediction, before)
    assert torch.equal(copy.deepcopy(net)(x, net.start(20))[0], before)


def test_it_steps_as_it_reads():
    net, x = model(Symbols(4), 3), elements(Symbols(4), 9, 1, missing=True)
    step, logits = net.stepper(net.start(1)), net(x, net.start(1))[0]
    torch.testing.assert_close(
        torch.stack([step(symbol) for symbol in x[:, 0].tolist()]), logits[:, 0], rtol=1e-12, atol=1e-12
    )


def test_the_seed_draws_the_model_and_breaks_its_symmetry():
    one, same, other = model(Symbols(5), 4), model(Symbols(5), 4), model(Symbols(5), 4, seed=1)
    assert torch.equal(one.transition, same.transition) and torch.equal(
        one.emission.probability, same.emission.probability
    )
    assert not torch.equal(one.transition, other.transition)
    rows = one.emission.probability
    assert torch.pdist(rows).min() > 0.05 and torch.cdist(rows, other.emission.probability).min() > 0.01


def test_conf_makes_it():
    cfg = composed("model=hmm", "model.states=7", "data=copying", "data.alphabet=6")
    net = build(cfg.model, load_data(cfg.data))
    assert (
        net.learned_by == ("em",)
        and net.states == net.discrete_states == 7
        and net.emission.probability.shape == (7, 9)
        and net.precision is torch.float64
    )
    assert net.count_parameters() == 7 + 49 + 63


def test_a_series_that_is_driven_is_refused():
    cfg = composed("model=hmm", "data=sine")
    message = "model=hmm, data=sine: the model knows no driving inputs, the series has 1: take model=lds"
    with pytest.raises(Refusal, match=message):
        refuse_misfits(cfg, load_data(cfg.data))
    for name in ("sunspots", "copying"):
        assert HiddenMarkovModel.fits(load_data(composed(f"data={name}").data)) is None
