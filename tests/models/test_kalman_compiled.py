"""kalman.cpp against what NumPy makes of the same equations: every form of it that this processor can run."""

import math

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.models import kalman, kalman_compiled
from pipeline.recurrence import forms
from tests.models.test_lds import data, sums, system_of, window

FORMS = [form for form in forms.runnable() if kalman_compiled.load(form)]
pytestmark = pytest.mark.skipif(not FORMS, reason="kalman.cpp was not compiled: no C++ compiler at installation")


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    chosen = kalman_compiled.load(request.param)
    monkeypatch.setattr(kalman_compiled, "library", lambda: chosen)


@pytest.fixture
def told(monkeypatch):
    """What the compiled passes said when they were called: whether they came to an end."""
    said = []

    def spied(name, compiled):
        def asked(*arrays):
            results = compiled(*arrays)
            said.append((name, results is not None))
            return results

        monkeypatch.setattr(kalman_compiled, name, asked)

    for name in ("filter_steps", "smooth_steps"):
        spied(name, getattr(kalman_compiled, name))
    return said


def numbers(system, y, u, mean, P):
    """All that filter and smoother find, [T, ..] each."""
    filtered = kalman.kalman_filter(system, y, u, mean, P)
    smoothed = kalman.rts_smoother(system, filtered)
    found = {"errors": filtered.errors, "log-likelihood": filtered.log_likelihood}
    for name in ("predicted", "updated"):
        found |= {f"{name} {part}": getattr(getattr(filtered, name), part) for part in ("means", "covariances")}
    beliefs = smoothed.beliefs
    lagged = smoothed.lagged[beliefs.row]
    return found | {"means": beliefs.means, "covariances": beliefs.covariances, "lagged": lagged}


def by_numpy(monkeypatch, *arrays):
    with monkeypatch.context() as patch:
        patch.setattr(kalman_compiled, "library", lambda: None)
        return numbers(*arrays)


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        scale = np.abs(expected).max() + 1e-300
        np.testing.assert_allclose(ours[name] / scale, expected / scale, rtol=0, atol=1e-9, err_msg=name)
        if "covariances" in name:
            np.testing.assert_array_equal(ours[name], ours[name].mT)


def streams_with_gaps(model, gaps, steps=50):
    """y, u of three streams, with values missing as the name says."""
    y, u = data(model, steps, 3)
    draw = np.random.default_rng(11)
    y, u = y.numpy(), u.numpy()
    if gaps == "entries of each stream":
        y[draw.random(y.shape) < 0.3] = math.nan
    elif gaps == "steps of each stream":
        y[draw.random(y.shape[:2]) < 0.3] = math.nan
    elif gaps == "the same entries":
        y[np.broadcast_to(draw.random((steps, 1, y.shape[2])) < 0.3, y.shape)] = math.nan
    elif gaps == "the same steps, and both ends":
        y[draw.random(steps) < 0.3] = math.nan
        y[:7] = y[-6:] = math.nan
    elif gaps == "one stream alone, and both ends of another":
        y[::2, 0] = math.nan
        y[:5, 2] = y[-12:, 2] = math.nan
    return y, u


SIZES = [(1, 1), (2, 3), (3, 2), (4, 2), (5, 6), (6, 1), (7, 4), (8, 5), (9, 2), (10, 5), (11, 3), (12, 6), (27, 15)]
GAPS = [
    "entries of each stream",
    "steps of each stream",
    "the same entries",
    "the same steps, and both ends",
    "one stream alone, and both ends of another",
]


@pytest.mark.parametrize("states, observed", SIZES)
@pytest.mark.parametrize("gaps", GAPS)
def test_steps_are_those_of_numpy(form, told, monkeypatch, states, observed, gaps):
    driving, prior = (states + observed) % 3, 1 + 2 * (states % 2)  # one P for all streams, or one for each
    model = system_of(states, observed, driving, seed=states)
    y, u = streams_with_gaps(model, gaps)
    draw = np.random.default_rng(states)
    P = model.P0.numpy() * draw.uniform(0.5, 2, (prior, 1, 1))
    arrays = model.system, y, u, draw.normal(size=(3, states)), P
    ours = numbers(*arrays)
    assert told == [("filter_steps", True), ("smooth_steps", True)]
    assert_equal(ours, by_numpy(monkeypatch, *arrays))
    assert ours["covariances"].shape[1] == (3 if prior == 3 or "the same" not in gaps else 1)


def test_a_smoother_starts_from_whatever_filter_shares_no_covariances(form, told, monkeypatch):
    model = system_of(4, 2)
    y, u = data(model, 12, 3)
    y[3, 0, 1] = math.nan
    arrays = model.system, y.numpy(), u.numpy(), np.zeros((3, 4)), model.P0.numpy()[None]
    ours = numbers(*arrays)
    assert told == [("smooth_steps", True)]
    assert_equal(ours, by_numpy(monkeypatch, *arrays))


def test_threads_share_the_streams(form):
    model = system_of(4, 3, 1)
    y, u = streams_with_gaps(model, "entries of each stream")
    arrays = model.system, y, u, np.zeros((3, 4)), model.P0.numpy()[None]
    alone, before = numbers(*arrays), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shared = numbers(*arrays)
    finally:
        torch.set_num_threads(before)
    for name, expected in alone.items():
        np.testing.assert_array_equal(shared[name], expected)


def certain(model):
    """Makes the last state a constant that is known."""
    for covariance in (model.Q, model.P0):
        covariance[-1] = covariance[:, -1] = 0
    model.A[-1] = 0
    model.A[-1, -1] = 1
    return model


def test_a_singular_covariance_of_a_state_is_left_to_the_pseudo_inverse(form, told, monkeypatch):
    model = certain(system_of(3, 2))
    y, u = streams_with_gaps(model, "entries of each stream")
    arrays = model.system, y, u, np.zeros((3, 3)), model.P0.numpy()[None]
    ours = numbers(*arrays)
    assert told == [("filter_steps", True), ("smooth_steps", False)]
    assert_equal(ours, by_numpy(monkeypatch, *arrays))
    assert not ours["covariances"][..., -1].any()


@pytest.mark.parametrize("streams", [1, 3])
def test_a_singular_covariance_of_an_observation_is_refused(form, told, streams):
    model = system_of(3, 2)
    model.R.zero_()
    model.C[1] = 2 * model.C[0]
    y, u = streams_with_gaps(model, "steps of each stream")
    with pytest.raises(Refusal, match=r"C P C\^T \+ R of an observation is singular"):
        kalman.kalman_filter(model.system, y[:, :streams], u, np.zeros((streams, 3)), model.P0.numpy()[None])
    assert told == [("filter_steps", False)]


def test_learning_from_gaps_is_that_of_numpy(form, told, monkeypatch):
    def learned():
        model = system_of(3, 2, 1)
        y, u = data(model, 60, 2, 0.2)
        model.R.mul_(3)
        for _ in range(8):
            yield model.log_likelihood(y, u).sum().item()
            model.update(sums(model, window(y, u))[0])

    ours = list(learned())
    assert told and all(well for _, well in told)
    with monkeypatch.context() as patch:
        patch.setattr(kalman_compiled, "library", lambda: None)
        np.testing.assert_allclose(ours, list(learned()), rtol=1e-9)
    assert np.all(np.diff(ours) > 0)
