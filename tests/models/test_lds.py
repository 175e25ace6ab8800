"""The linear dynamical system against one dense Gaussian,
against peers' numbers, and its fast path against single steps."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.datasets.series import Series
from pipeline.datasets.space import Reals
from pipeline.models import kalman, kalman_compiled
from pipeline.models.lds import LinearDynamicalSystem
from pipeline.runs.settling import build, refuse_misfits
from tests.conftest import composed
from tests.oracles.dense_gaussian import DenseGaussian

SIZES = [(1, 1, 0), (2, 3, 1), (4, 2, 2), (3, 1, 0), (1, 3, 1)]  # N, D, U
NAMES = ["A", "B", "C", "D", "d", "Q", "R", "m0", "P0"]


def fresh(observed, driving=0, states=2, radius=0.9, floor=1e-6):
    return LinearDynamicalSystem(Reals(observed + driving, driving), Reals(observed), (), states, radius, floor)


def system_of(states, observed, driving=0, seed=0):
    """A model whose every parameter is drawn anew."""
    torch.manual_seed(seed)
    model = fresh(observed, driving, states)
    draw = np.random.default_rng(seed + 1)

    def covariance(size):
        root = draw.normal(size=(size, size + 2))
        return root @ root.T / size

    numbers = {
        "A": 0.9 * np.linalg.qr(draw.normal(size=(states, states)))[0] + 0.05 * draw.normal(size=(states, states)),
        "B": draw.normal(size=(states, driving)),
        "C": draw.normal(size=(observed, states)),
        "D": draw.normal(size=(observed, driving)),
        "d": draw.normal(size=observed),
        "Q": 0.3 * covariance(states),
        "R": 0.5 * covariance(observed),
        "m0": draw.normal(size=states),
        "P0": covariance(states),
    }
    model.load_state_dict({name: torch.from_numpy(value) for name, value in numbers.items()})
    return model


def data(model, steps, streams=1, missing=0.0, seed=5):
    """y [T, B, D] with single values and whole steps missing, u [T, B, U] with u_0 = 0."""
    torch.manual_seed(seed)
    u = torch.randn(steps, streams, model.driving, dtype=torch.double)
    u[0] = 0
    _, y = model.sample(model.start(streams), steps, u[1:])
    y[torch.rand(y.shape) < missing] = math.nan
    y[torch.rand(y.shape[:2]) < missing] = math.nan
    return y, u


def dense(model, u):
    return DenseGaussian(*(getattr(model, name).numpy() for name in NAMES), u.numpy())


def window(y, u, carried=False):
    """The window of training whose targets are y_1 .. y_T."""
    return SimpleNamespace(
        inputs=torch.cat([y[:-1], u[1:]], dim=-1), targets=y[1:], carried=carried, count=None, positions=None
    )


def sums(model, *windows, state=None):
    """Statistics of successive windows, the state after them, and the sum of squared errors."""
    statistics, total = model.zero_statistics(0), 0.0
    state = model.start(windows[0].targets.shape[1]) if state is None else state
    for one in windows:
        state, squares = model.accumulate(statistics, one, state)
        total += squares.item()
    return statistics, state, total


def close(ours, theirs, rtol=1e-9, atol=1e-10):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=rtol, atol=atol)


@pytest.fixture(params=["compiled", "numpy"])
def way(request, monkeypatch):
    """The steps in compiled code, or as NumPy does them where there is none."""
    if request.param == "numpy":
        monkeypatch.setattr(kalman_compiled, "library", lambda: None)
    elif kalman_compiled.library() is None:
        pytest.skip("kalman.cpp was not compiled: there was no C++ compiler at installation")


@pytest.mark.parametrize("states, observed, driving", SIZES)
@pytest.mark.parametrize("steps, missing", [(1, 0.0), (2, 0.0), (7, 0.0), (12, 0.3)])
def test_filter_smoother_and_likelihood_are_those_of_the_joint_gaussian(way, states, observed, driving, steps, missing):
    model = system_of(states, observed, driving)
    y, u = data(model, steps, 3, missing)
    filtered = model.filter(y, u)
    beliefs, lagged = model.smooth(y, u)
    for b in range(3):
        joint, seen = dense(model, u[:, b]), y[:, b].numpy()
        close(model.log_likelihood(y, u)[b], joint.log_likelihood(seen))
        close(filtered.log_likelihood[0, b], joint.log_likelihood(seen[:1]))
        for t in range(steps):
            for believed, known in ((filtered.predicted, seen[:t]), (filtered.updated, seen[: t + 1]), (beliefs, seen)):
                mean, covariance = joint.given(joint.z(t), known)
                close(believed.means[t, b], mean)
                close(believed.covariances[t, min(b, believed.table.shape[1] - 1)], covariance)
            if t + 1 < steps:
                _, both = joint.given(np.concatenate([joint.z(t + 1), joint.z(t)]), seen)
                close(lagged[beliefs.row[t], min(b, lagged.shape[1] - 1)], both[:states, states:])


@pytest.mark.parametrize("states, observed, driving", SIZES)
def test_forecasts_are_those_of_the_joint_gaussian(states, observed, driving):
    model = system_of(states, observed, driving)
    y, u = data(model, 9, 2, 0.2)
    _, state = model(torch.cat([y[:5], u[1:6]], dim=-1), model.start(2))
    means, covariances = model.forecast(state, 4, u[6:])
    for b in range(2):
        joint = dense(model, u[:, b])
        for k in range(4):
            mean, covariance = joint.given(joint.y(5 + k), y[:5, b].numpy())
            close(means[k, b], mean)
            close(covariances[k, b], covariance)


def test_predictions_are_those_of_the_joint_gaussian_in_one_go_or_step_by_step():
    model = system_of(3, 2, 1)
    y, u = data(model, 9, 2, 0.2)
    x = torch.cat([y[:-1], u[1:]], dim=-1)
    whole, end = model(x, model.start(2))
    state, steps = model.start(2), []
    for t in range(8):
        one, state = model(x[t : t + 1], state)
        steps.append(one)
        for b in range(2):
            joint = dense(model, u[:, b])
            close(whole[t, b], joint.given(joint.y(t + 1), y[: t + 1, b].numpy())[0])
    close(torch.cat(steps), whole)
    for part, wanted in zip(state, end, strict=True):
        assert part.shape[:2] == (1, 2)
        close(part, wanted)
    single, _ = model(x.float(), model.start(2))
    assert single.dtype == torch.float32
    close(single, whole, rtol=1e-4, atol=1e-5)


def test_nats_are_those_of_the_joint_gaussian():
    model = system_of(3, 2, 1)
    y, u = data(model, 9, 2, 0.2)
    one = window(y, u)
    nats, state = model.negative_log_likelihood(one.inputs[:4], one.targets[:4], model.start(2))
    rest, end = model.negative_log_likelihood(one.inputs[4:], one.targets[4:], state)
    for b in range(2):
        joint = dense(model, u[:, b])
        close(torch.cat([nats, rest])[:, b], -np.diff([joint.log_likelihood(y[:t, b].numpy()) for t in range(1, 10)]))
    for part, wanted in zip(end, model(one.inputs, model.start(2))[1], strict=True):
        close(part, wanted)


def stepwise(system, y, u, mean, P):
    """The textbook recursions, one step at a time, nothing shared and nothing held:
    predicted, filtered, smoothed, log-likelihood."""
    predicted, filtered, log_likelihood = [], [], 0.0
    for t in range(len(y)):
        if t:
            mean, P = system.A @ mean + system.B @ u[t], system.A @ P @ system.A.T + system.Q
        predicted.append((mean, P))
        o = ~np.isnan(y[t])
        C, error = system.C[o], y[t][o] - (system.C @ mean + system.D @ u[t] + system.d)[o]
        S = C @ P @ C.T + system.R[np.ix_(o, o)]
        log_likelihood -= 0.5 * (
            error @ np.linalg.solve(S, error) + np.linalg.slogdet(S)[1] + o.sum() * math.log(2 * math.pi)
        )
        K = np.linalg.solve(S, C @ P).T
        mean, P = mean + K @ error, P - K @ S @ K.T
        filtered.append((mean, P))
    smoothed = [filtered[-1]]
    for t in range(len(y) - 2, -1, -1):
        J = np.linalg.solve(predicted[t + 1][1], system.A @ filtered[t][1]).T
        smoothed.insert(
            0,
            (
                filtered[t][0] + J @ (smoothed[0][0] - predicted[t + 1][0]),
                filtered[t][1] + J @ (smoothed[0][1] - predicted[t + 1][1]) @ J.T,
            ),
        )
    return predicted, filtered, smoothed, log_likelihood


GAPS = {
    "complete": [],
    "one_gap": [(slice(300, 303),)],
    "ragged_end": [(slice(-2, None), 1)],
    "gaps_of_one_stream": [(slice(100, 700, 100), 0, 1)],
    "everywhere": [(slice(k, None, 7 + k), k % 2, k % 2) for k in range(5)],
    "in_both_streams_alike": [slice(1, None, 3)],
}


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("same_prior", [True, False])
def test_constant_gains_blocks_and_marches_equal_single_steps(way, gaps, same_prior):
    model = system_of(4, 2, 1)
    y, u = data(model, 900, 2)
    for where in GAPS[gaps]:
        y[where] = math.nan
    draw = np.random.default_rng(8)
    y, u, mean, P = y.numpy(), u.numpy(), draw.normal(size=(2, 4)), model.P0.numpy()[None]
    P = P if same_prior else np.concatenate([P, 5 * np.eye(4)[None]])
    filtered = kalman.kalman_filter(model.system, y, u, mean, P)
    beliefs = kalman.rts_smoother(model.system, filtered).beliefs
    for b in range(2):
        expected = stepwise(model.system, y[:, b], u[:, b], mean[b], P[min(b, len(P) - 1)])
        for ours, theirs in zip((filtered.predicted, filtered.updated, beliefs), expected):
            close(ours.means[:, b], np.stack([mean for mean, _ in theirs]), rtol=1e-9, atol=1e-11)
            close(
                ours.covariances[:, min(b, ours.table.shape[1] - 1)],
                np.stack([P for _, P in theirs]),
                rtol=1e-9,
                atol=1e-11,
            )
        close(filtered.log_likelihood[:, b].sum(), expected[3], rtol=1e-12)
    # Gains were held.
    assert (len(filtered.predicted.table) < 300) == (gaps not in ("everywhere", "in_both_streams_alike"))


def test_a_march_that_forgets_nothing_is_still_exact(way):
    """A state that keeps its value for ever and is seen now and then through a gap-ridden y:
    many places in time cannot settle early."""
    model = system_of(2, 1)
    model.A.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.999]]))
    model.Q.copy_(torch.diag(torch.tensor([0.0, 1e-9])))
    model.C.copy_(torch.tensor([[0.0, 1e-3]]))
    y, u = data(model, 1500)
    y[::7] = math.nan
    filtered = model.filter(y)
    beliefs = kalman.rts_smoother(model.system, filtered).beliefs
    expected = stepwise(model.system, y[:, 0].numpy(), u[:, 0].numpy(), model.m0.numpy(), model.P0.numpy())
    for ours, theirs in zip((filtered.predicted, filtered.updated), expected):
        close(ours.means[:, 0], np.stack([mean for mean, _ in theirs]), rtol=1e-9, atol=1e-9)
        close(ours.covariances[:, 0], np.stack([P for _, P in theirs]), rtol=1e-9, atol=1e-11)
    close(beliefs.means[:, 0, 1], np.stack([mean for mean, _ in expected[2]])[:, 1], rtol=1e-5, atol=1e-7)
    close(filtered.log_likelihood.sum(), expected[3], rtol=1e-11)


# Peers' numbers for one series: statsmodels 0.15.0 (KalmanSmoother) and dynamax 1.0.3 (lgssm_smoother in float64, which
# adds 1e-9 to what it inverts)


def published():
    model = fresh(3, 1)
    numbers = {
        "A": [[0.8, -0.4], [0.3, 0.7]],
        "B": [[0.5], [-1.0]],
        "C": [[1.0, 0.2], [0.0, 1.0], [0.5, -0.5]],
        "D": [[0.1], [0.2], [-0.3]],
        "d": [0.3, -0.2, 0.1],
        "Q": [[0.3, 0.1], [0.1, 0.2]],
        "R": [[0.5, 0.1, 0], [0.1, 0.4, 0.05], [0, 0.05, 0.3]],
        "m0": [0.5, -0.5],
        "P0": [[1.0, 0.2], [0.2, 0.8]],
    }
    model.load_state_dict({name: torch.tensor(value, dtype=torch.double) for name, value in numbers.items()})
    t = torch.arange(40, dtype=torch.double)
    u = (1.1 * t).cos()[:, None, None]
    u[0] = 0
    return model, torch.stack([(0.7 * t).sin(), (0.4 * t).cos(), (0.3 * t + 1).sin()], dim=1)[:, None], u


def test_numbers_of_dynamax():
    model, y, u = published()
    beliefs, _ = model.smooth(y, u)
    close(model.log_likelihood(y, u), [-153.1341317035886], rtol=1e-9)
    close(
        beliefs.means[[0, 17, 39], 0],
        [
            [0.25328666040235, 0.1889953027231],
            [-0.64823565639624, -0.07894046357862],
            [0.16812083721005, -0.46135107089045],
        ],
        rtol=1e-7,
    )
    close(
        beliefs.covariances[[0, 17], 0],
        [
            [[0.21036900389305, 0.05370771833785], [0.05370771833785, 0.14729204719293]],
            [[0.16145660363387, 0.04631438117804], [0.04631438117804, 0.11560732489909]],
        ],
        rtol=2e-8,
    )


def test_numbers_of_statsmodels(way):
    model, y, u = published()
    beliefs, _ = model.smooth(y, u)
    close(model.log_likelihood(y, u), [-153.13413169887139], rtol=1e-13)
    close(
        beliefs.means[[0, 17, 39], 0],
        [
            [0.25328665938838, 0.18899530220788],
            [-0.64823565680527, -0.0789404628969],
            [0.16812083767686, -0.46135107120793],
        ],
        rtol=1e-12,
    )
    close(
        beliefs.covariances[[0, 17], 0],
        [
            [[0.21036900300562, 0.05370771819662], [0.05370771819662, 0.14729204607063]],
            [[0.16145660304415, 0.04631438104652], [0.04631438104652, 0.11560732416046]],
        ],
        rtol=1e-12,
    )
    y[5, 0, 1], y[6], y[20:24, 0, 0], y[39, 0, 2] = math.nan, math.nan, math.nan, math.nan
    beliefs, lagged = model.smooth(y, u)
    close(model.log_likelihood(y, u), [-143.9551425245493], rtol=1e-13)
    close(
        beliefs.means[[0, 6, 17, 39], 0],
        [
            [0.25175428989149, 0.18803289404862],
            [-0.04285348988362, -1.03312761747038],
            [-0.64336769322159, -0.04990650963751],
            [0.18961487341548, -0.48274889133375],
        ],
        rtol=1e-12,
    )
    close(
        beliefs.covariances[6, 0],
        [[0.29005443543331, 0.06496209450638], [0.06496209450638, 0.20403347896658]],
        rtol=1e-12,
    )
    close(
        lagged[beliefs.row[17], 0],
        [[0.0507177225292, -0.00736362275414], [0.03702372456517, 0.04673971516215]],
        rtol=1e-10,
    )


# Learning


def expected_log_likelihood(model, y, u):
    """parameters -> E[log p(z, y; parameters)] over the joint posterior
    of the states and what is missing of y, under `model`."""
    streams = []
    for b in range(y.shape[1]):
        joint, seen = dense(model, u[:, b]), y[:, b].numpy()
        mean, covariance = (torch.from_numpy(part) for part in joint.given(np.arange(len(joint.mean)), seen))
        known = joint.steps * joint.N + np.flatnonzero(~np.isnan(seen.ravel()))
        mean[known], covariance[known], covariance[:, known] = (
            torch.from_numpy(seen.ravel()[~np.isnan(seen.ravel())]),
            0.0,
            0.0,
        )
        streams.append((joint, mean, covariance, u[:, b], ~np.isnan(seen).all(-1)))
    eye_N, eye_D = torch.eye(model.states, dtype=torch.double), torch.eye(model.observed, dtype=torch.double)

    def objective(parameters):
        A, B, C, D, d, Q, R, m0, P0 = (parameters[name] for name in NAMES)
        total = 0.0
        for joint, mean, covariance, u, seen in streams:

            def term(entries, transform, shift, noise, mean=mean, covariance=covariance):
                """E log N(transform v + shift; 0, noise) of these entries v of the joint vector."""
                residual = transform @ mean[entries] + shift
                scatter = torch.outer(residual, residual) + transform @ covariance[entries][:, entries] @ transform.mT
                return -0.5 * (
                    torch.linalg.slogdet(noise)[1]
                    + torch.linalg.solve(noise, scatter).trace()
                    + len(noise) * math.log(2 * math.pi)
                )

            total = total + term(joint.z(0), eye_N, -m0, P0)
            for t in range(joint.steps):
                if t and seen[t:].any():
                    total = total + term(
                        np.concatenate([joint.z(t), joint.z(t - 1)]), torch.cat([eye_N, -A], dim=1), -B @ u[t], Q
                    )
                if seen[t]:
                    total = total + term(
                        np.concatenate([joint.y(t), joint.z(t)]), torch.cat([eye_D, -C], dim=1), -D @ u[t] - d, R
                    )
        return total

    return objective


@pytest.mark.parametrize("states, observed, driving", SIZES)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_m_step_is_the_maximum_of_the_expected_log_likelihood(states, observed, driving, missing):
    """Its gradient there is zero, and no way from there, and no numeric search from where it started, leads higher."""
    model = system_of(states, observed, driving)
    y, u = data(model, 14, 4, missing)
    y[-1, 2] = math.nan  # a stream that ends a step early
    statistics, _, _ = sums(model, window(y, u))
    new = system_of(states, observed, driving)
    new.update(statistics)

    objective = expected_log_likelihood(model, y, u)
    best = {name: getattr(new, name).detach().clone().requires_grad_() for name in NAMES}
    value = objective(best)
    gradients = torch.autograd.grad(value, list(best.values()), allow_unused=True)
    for gradient in gradients:
        close(0.0 if gradient is None else gradient, 0.0 if gradient is None else torch.zeros_like(gradient), atol=1e-6)
    torch.manual_seed(9)
    for _ in range(5):
        moved = {
            name: part.detach()
            + 0.01 * (torch.eye(len(part)) * torch.rand(()) if name in ("Q", "R", "P0") else torch.randn(part.shape))
            for name, part in best.items()
        }
        assert objective(moved) < value
    assert objective({name: getattr(model, name) for name in NAMES}) < value


def test_m_step_is_found_by_a_numeric_search():
    model = system_of(2, 1, 1)
    y, u = data(model, 6, 1, 0.2)
    statistics, _, _ = sums(model, window(y, u))
    objective = expected_log_likelihood(model, y, u)
    free = {name: getattr(model, name).detach().clone().requires_grad_() for name in ("A", "B", "C", "D", "d", "m0")}
    roots = {
        name: torch.linalg.cholesky(getattr(model, name)).contiguous().requires_grad_() for name in ("Q", "R", "P0")
    }

    def parameters():
        return free | {name: root.tril() @ root.tril().mT for name, root in roots.items()}

    search = torch.optim.LBFGS(
        [*free.values(), *roots.values()],
        max_iter=150,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss():
        search.zero_grad()
        total = -objective(parameters())
        total.backward()
        return total

    search.step(loss)
    found = {name: part.detach() for name, part in parameters().items()}
    model.update(statistics)
    for name in NAMES:
        close(getattr(model, name), found[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("states, observed, driving", SIZES)
@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_em_never_lowers_the_likelihood(states, observed, driving, missing):
    truth = system_of(states, observed, driving, seed=3)
    y, u = data(truth, 40, 3, missing)
    torch.manual_seed(1)
    model = fresh(observed, driving, states)
    history = [model.log_likelihood(y, u).sum().item()]
    for _ in range(12):
        model.update(sums(model, window(y, u))[0])
        history.append(model.log_likelihood(y, u).sum().item())
    assert min(np.diff(history)) > -1e-8 * abs(history[-1])
    assert history[-1] > history[0] + 1


def test_em_reaches_the_likelihood_of_the_system_that_made_the_data():
    truth = system_of(2, 2, 1, seed=8)
    truth.A *= 0.9 / torch.linalg.eigvals(truth.A).abs().max()
    (y, u), (fresh, v) = data(truth, 700, 2), data(truth, 700, 2, seed=6)
    scale = y.std((0, 1))
    model = fit(y / scale, 2, 60, u)

    def ahead(y, u, start):
        """By how many nats the model is likelier than the truth, from step `start` on;
        the densities are of y and of y / scale."""
        ours, theirs = (
            one.filter(values, u).log_likelihood[start:].sum() for one, values in ((model, y / scale), (truth, y))
        )
        return ours - theirs - 2 * (700 - start) * scale.log().sum()

    assert ahead(y, u, 0) > 0
    # 22 free numbers: half a nat or so each; m0 and P0 of two streams fit no others, so not the first steps
    assert ahead(fresh, v, 20) > -30
    close(sorted(torch.linalg.eigvals(model.A).real), sorted(torch.linalg.eigvals(truth.A).real), rtol=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_em_learns_a_sine(seed):
    """The series that one rotation makes: from any start the one-step error goes to nothing."""
    t = torch.arange(600, dtype=torch.double)
    y = (2 * math.pi * t / 50).sin()[:, None, None] * math.sqrt(2)
    torch.manual_seed(seed)
    model = fresh(1, states=4)
    for _ in range(30):
        model.update(sums(model, window(y, y[..., :0]))[0])
    assert sums(model, window(y, y[..., :0]))[2] / 599 < 1e-6
    forecast, _ = model.forecast(model(y[:500], model.start(1))[1], 100)
    close(forecast[:, 0], y[500:, 0], rtol=0, atol=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_em_learns_an_autoregression(seed):
    """y_t = 1.6 y_{t-1} - 0.8 y_{t-2} + e is a system of two states:
    the error goes to e's, that of the least-squares taps."""
    e, y = np.random.default_rng(2).normal(size=1200), np.zeros(1200)
    for t in range(2, 1200):
        y[t] = 1.6 * y[t - 1] - 0.8 * y[t - 2] + e[t]
    y = torch.from_numpy(y[200:] / y[200:].std())[:, None, None]
    taps = torch.stack([y[1:-1, 0, 0], y[:-2, 0, 0]], dim=1)
    least = (taps @ torch.linalg.lstsq(taps, y[2:, 0]).solution - y[2:, 0]).square().mean()
    torch.manual_seed(seed)
    model = fresh(1, states=4)
    for _ in range(40):
        model.update(sums(model, window(y, y[..., :0]))[0])
    assert sums(model, window(y, y[..., :0]))[2] / 999 < 1.01 * least


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_shares_of_the_streams_add_up_to_the_whole(missing):
    model = system_of(3, 2, 1)
    y, u = data(model, 30, 5, missing)
    whole, _, squares = sums(model, window(y, u))
    first, _, one = sums(model, window(y[:, :2], u[:, :2]))
    second, _, two = sums(model, window(y[:, 2:], u[:, 2:]))
    for name in whole:
        close(first[name] + second[name], whole[name])
    close(one + two, squares)


def test_windows_hand_on_what_is_known():
    """The second window's sums are those of its steps given everything,
    the first one's those given its own part; the errors are the same."""
    model = system_of(3, 2, 1)
    y, u = data(model, 40, 2, 0.1)
    whole, end, squares = sums(model, window(y, u))
    first, state, one = sums(model, window(y[:26], u[:26]))
    second, after, two = sums(model, window(y[25:], u[25:], carried=True), state=state)
    close(one + two, squares)
    for part, wanted in zip(after, end, strict=True):
        close(part, wanted)
    beliefs, lagged = model.smooth(y, u)
    z, P = beliefs.means[25:], np.broadcast_to(beliefs.covariances[25:], (15, 2, 3, 3))
    crossed = np.broadcast_to(lagged[beliefs.row[25:-1]], (14, 2, 3, 3))
    numbers = {name: part[-1, -1] for name, part in second.items()}
    seen = ~y[26:].isnan().all(-1)
    assert (
        numbers == {"starts": 0, "transitions": 2 * 14, "observations": seen.sum()}
        and first["transitions"][-1, -1] == 2 * 25
    )
    squares = np.einsum("tbi,tbj->tbij", z, z) + P
    close(second["transitions"][:3, :3], squares[1:].sum((0, 1)))
    close(second["transitions"][3:6, 3:6], squares[:-1].sum((0, 1)))
    close(second["transitions"][:3, 3:6], (np.einsum("tbi,tbj->tbij", z[1:], z[:-1]) + crossed).sum((0, 1)))
    close(second["observations"][2:5, 2:5], (seen.numpy()[..., None, None] * squares[1:]).sum((0, 1)))


def test_the_sum_of_squares_is_that_of_the_predictions():
    model = system_of(3, 2, 1)
    y, u = data(model, 40, 2, 0.1)
    one = window(y, u)
    prediction, state = model(one.inputs, model.start(2))
    _, end, squares = sums(model, one)
    close(squares, torch.where(one.targets.isnan(), 0.0, prediction - one.targets).square().sum())
    for part, wanted in zip(end, state, strict=True):
        close(part, wanted)


def test_a_stream_that_has_ended_counts_no_more():
    """Where streams do not divide a series the shorter ones end with a step that is not scored,
    and what stands in the input there is no matter."""
    model = system_of(2, 1, 1)
    y, u = data(model, 30, 2)
    ragged = window(y, u)
    ragged.targets[-1, 1] = math.nan
    ragged.inputs[-1, 1] = 77.0
    together, state, _ = sums(model, ragged)
    apart = [sums(model, window(y[:stop, b : b + 1], u[:stop, b : b + 1]))[0] for b, stop in ((0, 30), (1, 29))]
    for name in together:
        close(apart[0][name] + apart[1][name], together[name])
    nothing = SimpleNamespace(inputs=ragged.inputs[-1:, 1:], targets=ragged.targets[-1:, 1:], carried=True)
    statistics, _, squares = sums(model, nothing, state=tuple(part[:, 1:] for part in state))
    assert squares == 0 and all((part == 0).all() for part in statistics.values())


# Degenerate input


def fit(y, states, steps=20, u=None, floor=1e-6):
    torch.manual_seed(0)
    u = y[..., :0] if u is None else u
    model = fresh(y.shape[-1], u.shape[-1], states, floor=floor)
    for _ in range(steps):
        model.update(sums(model, window(y, u))[0])
    for name in NAMES:
        assert getattr(model, name).isfinite().all()
    for name in ("Q", "R", "P0"):
        assert torch.linalg.eigvalsh(getattr(model, name)).min() > 0.999 * floor
    return model


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_signal_is_predicted_as_it_is(value):
    y = torch.full((200, 2, 1), value, dtype=torch.double)
    model = fit(y, 2)
    prediction, _ = model(y, model.start(2))
    close(prediction[20:], y[20:], rtol=0, atol=1e-3)
    close(model.R, [[1e-6]], rtol=1e-3)
    assert model.log_likelihood(y).isfinite().all()


def test_one_channel_that_stands_still_leaves_the_other():
    truth = system_of(2, 1)
    y, _ = data(truth, 400, 1)
    both = fit(torch.cat([y, torch.zeros_like(y)], dim=-1), 2)
    prediction, _ = both(torch.cat([y, torch.zeros_like(y)], dim=-1), both.start(1))
    alone = fit(y, 2)
    assert prediction[20:, :, 1].abs().max() < 1e-3
    assert (prediction[:-1, :, 0] - y[1:, :, 0]).square().mean() < 1.1 * sums(alone, window(y, y[..., :0]))[2] / 399


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_more_parameters_than_data(steps):
    y = torch.randn(steps + 1, 1, 2, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    model = fit(y, 6)
    prediction, state = model(y, model.start(1))
    assert prediction.isfinite().all() and all(part.isfinite().all() for part in state)


def test_two_channels_that_are_one():
    truth = system_of(2, 1)
    y, _ = data(truth, 300, 1)
    model = fit(torch.cat([y, y], dim=-1), 2)
    close(model(torch.cat([y, y], dim=-1), model.start(1))[0].diff(dim=-1), torch.zeros(300, 1, 1), atol=1e-2)


def test_a_driving_input_that_never_moves_and_two_that_are_one():
    truth = system_of(2, 1, 1)
    y, u = data(truth, 300, 2)
    alone, doubled = fit(y, 2, u=u), fit(y, 2, u=torch.cat([u, u, torch.zeros_like(u)], dim=-1))
    assert (doubled.B[:, 2] == 0).all() and (doubled.D[:, 2] == 0).all()
    close(doubled.D[:, 0], doubled.D[:, 1], rtol=1e-6, atol=1e-9)
    assert (
        sums(doubled, window(y, torch.cat([u, u, torch.zeros_like(u)], dim=-1)))[2]
        < 1.05 * sums(alone, window(y, u))[2]
    )


def test_nothing_observed_changes_nothing():
    model = system_of(2, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    y = torch.full((5, 1, 1), math.nan, dtype=torch.double)
    statistics, _, squares = sums(model, window(y, y[..., :0]))
    model.update(statistics)
    assert squares == 0 and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    close(model.log_likelihood(y), [0.0])


def test_states_without_noise():
    """Q = 0 and P0 = 0: the states are known for certain, what is predicted is their course,
    and smoothing adds nothing."""
    model = system_of(2, 1, 1)
    model.Q.zero_()
    model.P0.zero_()
    y, u = data(model, 50)
    z = [model.m0]
    for t in range(1, 50):
        z.append(model.A @ z[-1] + model.B @ u[t, 0])
    for beliefs in (model.filter(y, u).updated, model.smooth(y, u).beliefs):
        close(beliefs.means[:, 0], torch.stack(z))
        close(beliefs.covariances, torch.zeros(50, 1, 2, 2))


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_an_autoregression_without_noise_in_what_is_observed(way, missing):
    """z_t = [y_t, y_{t-1}], y_t = 1.6 y_{t-1} - 0.8 y_{t-2} + e_t:
    Q has rank 1 and R = 0, so what was observed is known for certain."""
    model = system_of(2, 1)
    model.load_state_dict(
        {
            name: torch.tensor(value, dtype=torch.double)
            for name, value in {
                "A": [[1.6, -0.8], [1, 0]],
                "B": np.zeros((2, 0)),
                "C": [[1, 0]],
                "D": np.zeros((1, 0)),
                "d": [0],
                "Q": [[1, 0], [0, 0]],
                "R": [[0]],
                "m0": [0, 0],
                "P0": [[5, 4], [4, 5]],
            }.items()
        }
    )
    y, u = data(model, 10, missing=missing)
    joint, beliefs = dense(model, u[:, 0]), model.smooth(y).beliefs
    close(model.log_likelihood(y)[0], joint.log_likelihood(y[:, 0].numpy()))
    for t in range(10):
        mean, covariance = joint.given(joint.z(t), y[:, 0].numpy())
        close(beliefs.means[t, 0], mean, rtol=1e-8, atol=1e-8)
        close(beliefs.covariances[t, 0], covariance, rtol=1e-8, atol=1e-8)
    if not missing:
        innovations = y[2:, 0, 0] - 1.6 * y[1:-1, 0, 0] + 0.8 * y[:-2, 0, 0]
        close(model.filter(y).log_likelihood[2:, 0], -0.5 * (innovations**2 + math.log(2 * math.pi)))


def test_samples_have_the_moments_of_the_forecast():
    model = system_of(2, 2, 1)
    u = torch.randn(3, 1, 1, dtype=torch.double, generator=torch.Generator().manual_seed(3)).expand(3, 20000, 1)
    torch.manual_seed(2)
    z, y = model.sample(model.start(20000), 4, u)
    means, covariances = model.forecast(model.start(1), 4, u[:, :1])
    assert z.shape == (4, 20000, 2)
    close(y.mean(1), means[:, 0], rtol=0, atol=5 * (covariances.max().sqrt() / math.sqrt(20000)).item())
    for k in range(4):
        close(y[k].mT.cov(), covariances[k, 0], rtol=0.1, atol=0.1)
    joint = dense(model, torch.cat([torch.zeros(1, 1), u[:, 0]]))
    pairs = np.cov(y[1:3].permute(1, 0, 2).reshape(20000, 4).numpy().T)
    close(pairs, joint.covariance[np.ix_(*[np.concatenate([joint.y(1), joint.y(2)])] * 2)], rtol=0.1, atol=0.1)


def test_composed_built_saved_and_loaded_back():
    node = composed("model=lds").model
    series = Series("drawn", np.random.default_rng(0).normal(size=(100, 2)), np.ones((100, 1)), "80-10-10", False)
    torch.manual_seed(3)
    model = build(node, series)
    torch.manual_seed(3)
    again = build(node, series)
    assert all(
        torch.equal(one, other)
        for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    close(torch.linalg.eigvals(model.A).abs(), [0.9] * 4)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model.update(sums(model, window(*data(model, 20)))[0])
    other = build(node, series)
    other.load_state_dict(model.state_dict())
    y, u = data(model, 20)
    assert torch.equal(other.log_likelihood(y, u), model.log_likelihood(y, u))
    assert model.count_parameters() == 16 + 4 + 8 + 2 + 2 + 16 + 4 + 4 + 16


def test_symbols_are_refused():
    cfg = composed("model=lds", "data=copying")
    message = "model=lds, data=copying: the model predicts real-valued series, not other sequences: take data=sine"
    with pytest.raises(Refusal, match=message):
        refuse_misfits(cfg, load_data(cfg.data))


def test_bad_input_is_refused():
    model = system_of(2, 1, 1)
    y, u = data(model, 5)
    with pytest.raises(Refusal, match=r"driven by 1 inputs, none were given: give u \[5, 1, 1\]"):
        model.log_likelihood(y)
    u[2] = math.nan
    with pytest.raises(Refusal, match="a driving input is NaN"):
        model.log_likelihood(y, u)
    y[2, 0, 0] = math.inf
    with pytest.raises(Refusal, match="an observation is infinite"):
        model.log_likelihood(y, torch.zeros_like(u))
    for name in ("P0", "Q", "R"):
        getattr(model, name).zero_()
    with pytest.raises(Refusal, match=r"C P C\^T \+ R of an observation is singular"):
        model.log_likelihood(*data(model, 5))
