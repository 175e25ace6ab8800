"""hmm.cpp against logarithms added up a state at a time, and against torch's recursions: every form of it that this
processor can run."""

import numpy as np
import pytest
import torch

from pipeline.datasets.space import Symbols
from pipeline.models import hmm_compiled
from pipeline.recurrence import forms
from tests.models.test_hmm import Window, elements, log_emission, model, naive, numbers, statistics_of, whole

FORMS = [form for form in forms.runnable() if hmm_compiled.load(form)]
pytestmark = pytest.mark.skipif(not FORMS, reason="hmm.cpp was not compiled: no C++ compiler at installation")
KEPT = 2**26  # bytes of one vector of streams above which hmm.cpp goes forward twice


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    chosen = hmm_compiled.load(request.param)
    monkeypatch.setattr(hmm_compiled, "library", lambda: chosen)
    return chosen


def by_torch(monkeypatch, net, *windows):
    with monkeypatch.context() as patch:
        patch.setattr(hmm_compiled, "library", lambda: None)
        return statistics_of(net, *windows)


def assert_alike(found, expected, tolerance):
    (sums, loss), (wanted, wanted_loss) = found, expected
    for name, value in wanted.items():
        np.testing.assert_allclose(sums[name], value, rtol=tolerance, atol=tolerance * value.max(), err_msg=name)
    assert loss == pytest.approx(wanted_loss, rel=tolerance)


def ended(length, streams, symbols=6, seed=1):
    """Streams with missing symbols, of which the last ones have ends of several lengths."""
    x = elements(Symbols(symbols), length, streams, missing=True, seed=seed)
    x[1] = 0
    for stream in range(streams // 2, streams):
        x[max(2, length - 3 * (stream % 5)) :, stream] = symbols
    return x


@pytest.mark.parametrize("states", [1, 3, 8, 17])
@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-9), ("float32", 2e-5)])
def test_counts_are_those_of_logarithms(form, states, precision, tolerance):
    T, B, V = 30, 11, 6
    net, x = model(Symbols(V), states, precision=precision), ended(T, B)
    p, emitted = numbers(net), np.zeros((V + 1, states))
    started, moved = np.zeros(states), np.zeros((states, states))
    for b in range(B):
        last = int((x[:, b] < V).nonzero()[-1]) + 1
        _, posterior, pairs = naive(p["initial"], p["transition"], log_emission(net, x[:last, b]))
        np.add.at(emitted, x[:last, b].numpy(), posterior)
        started += posterior[0]
        moved += pairs
    sums, _ = statistics_of(net, whole(x))
    for name, expected in (("started", started), ("moved", moved), ("emitted", emitted[:-1])):
        np.testing.assert_allclose(sums[name], expected, rtol=tolerance, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("states", [1, 2, 5, 9, 10, 13, 16, 31, 50])
@pytest.mark.parametrize("streams", [1, 7, 8, 33])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-12), ("float32", 2e-5)])
def test_a_pass_is_that_of_torch(form, monkeypatch, states, streams, gaps, precision, tolerance):
    """In windows of one step, of fewer than are added up at once and of more, that go on from each other."""
    net = model(Symbols(6), states, precision=precision)
    x = ended(140, streams) if gaps else elements(Symbols(6), 140, streams)
    cuts = [(0, 1), (1, 30), (30, 139)]
    windows = [Window(x[first:last], x[first + 1 : last + 1], carried=first > 0) for first, last in cuts]
    assert_alike(statistics_of(net, *windows), by_torch(monkeypatch, net, *windows), tolerance)


def test_the_state_goes_on_as_torchs(form, monkeypatch):
    net, x = model(Symbols(6), 5), ended(20, 9)
    sums = net.zero_statistics(0)
    (after,), _ = net.accumulate(sums, whole(x), net.start(9))
    monkeypatch.setattr(hmm_compiled, "library", lambda: None)
    (expected,), _ = net.accumulate(sums, whole(x), net.start(9))
    assert after.shape == expected.shape and after.dtype == expected.dtype
    torch.testing.assert_close(after, expected, rtol=1e-13, atol=0)


def test_long_streams_are_gone_through_twice(form, monkeypatch):
    states = 128
    length = KEPT // (states * form.lanes(8) * 8) + 100
    net, x = model(Symbols(6), states), elements(Symbols(6), length, 1)
    assert_alike(statistics_of(net, whole(x)), by_torch(monkeypatch, net, whole(x)), 1e-11)


@pytest.mark.parametrize("streams", [1, 20, 40])
def test_threads_share_the_streams(form, streams):
    net, x = model(Symbols(6), 10), ended(50, streams)
    alone, before = statistics_of(net, whole(x)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shared = statistics_of(net, whole(x))
    finally:
        torch.set_num_threads(before)
    assert_alike(shared, alone, 1e-13)


def test_many_states_are_left_to_blas(form):
    assert hmm_compiled.takes(256, 8) and not hmm_compiled.takes(257, 1000)
    assert hmm_compiled.takes(128, 1) and not hmm_compiled.takes(129, 1)
