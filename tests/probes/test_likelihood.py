import math

import numpy as np
import pytest
import torch

from pipeline.cells.lstm import LSTM
from pipeline.datasets.space import Symbols
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.probes import likelihood

V = 5


def one_by_one(network, text):
    """The text read symbol by symbol from the start state; nats over the known targets."""
    state, nats, scored = network.start(1), 0.0, 0
    for symbol, target in zip(text[:-1].tolist(), text[1:].tolist()):
        logits, state = network(torch.tensor([[symbol]]), state)
        if target != V:
            nats -= torch.log_softmax(logits[0, 0], 0)[target].item()
            scored += 1
    return nats / scored, scored


@pytest.fixture
def network():
    torch.manual_seed(0)
    return RecurrentNetwork(Symbols(V), LSTM, 2, 6, None, 0.5, False, 0.0, False).double().train()


@pytest.mark.parametrize("n, parts", [(37, 1), (900, 7)])
@pytest.mark.parametrize("unknown", [False, True])
def test_mean_loss_is_that_of_reading_symbol_by_symbol(network, monkeypatch, n, parts, unknown):
    monkeypatch.setattr(likelihood, "STREAMS", 7)
    monkeypatch.setattr(likelihood, "BURN_IN", 30)
    monkeypatch.setattr(likelihood, "LENGTH", 11)
    text = np.random.default_rng(n).integers(0, V + unknown, n).astype(np.uint8)
    network.eval()
    expected, scored = one_by_one(network, text)
    network.train()
    assert max(1, min(7, (n - 1) // 120)) == parts
    ours = likelihood.mean_loss(network, text, V)
    assert ours == (pytest.approx(expected, rel=1e-10 if parts == 1 else 1e-6), scored)
    assert network.training  # as it was


def test_a_network_that_knows_nothing_costs_log_v(network):
    with torch.no_grad():
        network.readout.weight.zero_()
        network.readout.bias.zero_()
    text = np.random.default_rng(0).integers(0, V, 5000).astype(np.uint8)
    nats, scored = likelihood.mean_loss(network, text, V)
    assert nats == pytest.approx(math.log(V)) and scored == 4999
