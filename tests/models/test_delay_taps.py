import numpy as np
import pytest
import torch

from pipeline.datasets.space import Reals, Symbols
from pipeline.models.delay_taps import DelayTaps


def filled(reads, answers, taps):
    torch.manual_seed(0)
    model = DelayTaps(reads, answers, (), taps).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("taps", [0, 1, 3, 9])
def test_logits_are_sums_over_the_last_symbols_and_nothing_before_the_first(taps):
    V, T, B = 4, 6, 2
    model = filled(Symbols(V), Symbols(V), taps)
    x = torch.randint(0, V + 1, (T, B))  # V: unknown
    logits, _ = model(x, model.start(B))
    weight, bias = (part.detach().numpy() for part in (model.weight, model.bias))
    for t in range(T):
        for b in range(B):
            expected = bias.copy()
            for k in range(min(taps, t + 1)):
                if x[t - k, b] < V:
                    expected += weight[:, k, x[t - k, b]]
            np.testing.assert_allclose(logits[t, b].detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("taps", [0, 1, 4])
def test_values_are_predicted_from_the_last_ones_and_what_drives_them(taps):
    T, B = 5, 2
    model = filled(Reals(3, 1), Reals(2), taps)
    x = torch.randn(T, B, 3, dtype=torch.double)
    mean, _ = model(x, model.start(B))
    for t in range(T):
        expected = model.bias.expand(B, -1) + sum(x[t - k] @ model.weight[:, k].t() for k in range(min(taps, t + 1)))
        torch.testing.assert_close(mean[t], expected)


@pytest.mark.parametrize("space", [Symbols(5), Reals(1)])
def test_windows_go_on_where_the_last_one_ended(space):
    model = filled(space, space, 4)
    x = torch.randint(0, 5, (9, 3)) if isinstance(space, Symbols) else torch.randn(9, 3, 1, dtype=torch.double)
    whole, end = model(x, model.start(3))
    state, parts = model.start(3), []
    for piece in x.split([1, 2, 5, 1]):
        part, state = model(piece, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)
    assert torch.equal(state[0], end[0])


def test_an_autoregressive_series_is_found_again():
    """Least squares by gradient descent: the coefficients that made the series."""
    made, y = [0.5, -0.3, 0.2], np.zeros(4000)
    noise = np.random.default_rng(0).normal(size=4000)
    for t in range(3, 4000):
        y[t] = 1.0 + sum(a * y[t - 1 - k] for k, a in enumerate(made)) + 0.1 * noise[t]
    model = DelayTaps(Reals(1), Reals(1), (), 3).double()
    x = torch.from_numpy(y)[:, None, None]
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        error = (model(x[:-1], model.start(1))[0] - x[1:])[3:].square().mean()
        error.backward()
        return error

    optimizer.step(loss)
    np.testing.assert_allclose(model.weight.detach()[0, :, 0], made, atol=0.02)
