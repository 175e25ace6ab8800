import numpy as np
import pytest
import torch

from pipeline.datasets.series import Series
from pipeline.datasets.space import Symbols
from pipeline.models.feedforward_lm import FeedforwardLM

V, K, m, h = 5, 3, 2, 4


@pytest.mark.parametrize("direct", [False, True])
def test_logits_are_bengios_equation(direct):
    torch.manual_seed(0)
    model = FeedforwardLM(Symbols(V), Symbols(V), (), K, m, h, direct).double()
    x = torch.randint(0, V + 1, (6, 2))
    logits, _ = model(x, model.start(2))
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    for t in range(6):
        for b in range(2):
            seen = [x[t - k, b].item() if t >= k else V for k in range(K)]
            e = np.concatenate([p["features"][:, s] if s < V else np.zeros(m) for s in seen])
            expected = p["output.bias"] + p["output.weight"] @ np.tanh(p["hidden.bias"] + p["hidden.weight"] @ e)
            if direct:
                expected = expected + p["direct.weight"] @ e
            np.testing.assert_allclose(logits[t, b].detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("direct", [False, True])
def test_parameters_are_as_many_as_in_the_paper(direct):
    """Section 3 of the paper: |V|(1 + nm + h) + h(1 + (n-1)m) with features of its own, n - 1 = K words seen."""
    model = FeedforwardLM(Symbols(V), Symbols(V), (), K, m, h, direct)
    assert model.count_parameters() == V * (1 + h + m) + h * (1 + K * m) + direct * V * K * m


def test_windows_go_on_where_the_last_one_ended():
    model = FeedforwardLM(Symbols(V), Symbols(V), (), K, m, h, True).double()
    x = torch.randint(0, V, (7, 2))
    whole, _ = model(x, model.start(2))
    first, state = model(x[:2], model.start(2))
    rest, _ = model(x[2:], state)
    torch.testing.assert_close(torch.cat([first, rest]), whole)


def test_it_reads_no_numbers():
    data = Series("numbers", np.arange(100.0)[:, None], np.empty((100, 0)), "80-10-10", False)
    assert FeedforwardLM.fits(data) == "reads symbols, not numbers: take model=delay_taps, or data=shakespeare"
