import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.models.build import count_parameters
from pipeline.models.recurrent import RecurrentNetwork

KERNELS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
PRODUCTS = {"rnn": 1, "lstm": 4, "gru": 3}


def network(cell="lstm", symbols=5, layers=2, hidden=4, embedding=None, dropout=0.0, recurrent_bias=True):
    torch.manual_seed(0)
    return RecurrentNetwork(symbols, KERNELS[cell], layers, hidden, embedding, dropout, recurrent_bias).double()


def test_char_rnns_lstm_has_240321_parameters():
    assert count_parameters(network("lstm", symbols=65, layers=2, hidden=128)) == 240_321


@pytest.mark.parametrize("cell", KERNELS)
@pytest.mark.parametrize("layers, hidden, embedding, biases", [(1, 3, None, 1), (3, 4, None, 2), (2, 4, 6, 2)])
def test_parameter_count(cell, layers, hidden, embedding, biases):
    V = 7
    widths = [embedding or V] + [hidden] * (layers - 1)
    expected = sum(PRODUCTS[cell] * hidden * (width + hidden + biases) for width in widths)
    expected += hidden * V + V + V * (embedding or 0)
    assert count_parameters(network(cell, V, layers, hidden, embedding, recurrent_bias=biases == 2)) == expected


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def naive_step(cell, w, x, state):
    """One layer, one time step, gate by gate, in PyTorch's order of gates."""
    a, b = w["weight_ih"] @ x + w["bias_ih"], w["weight_hh"] @ state[0] + w["bias_hh"]
    if cell == "rnn":
        return (torch.tanh(a + b),)
    if cell == "lstm":
        i, f, g, o = (a + b).chunk(4)
        c = sigmoid(f) * state[1] + sigmoid(i) * torch.tanh(g)
        return sigmoid(o) * torch.tanh(c), c
    (ar, az, an), (br, bz, bn) = a.chunk(3), b.chunk(3)
    r, z = sigmoid(ar + br), sigmoid(az + bz)
    return ((1 - z) * torch.tanh(an + r * bn) + z * state[0],)


@pytest.mark.parametrize("cell", KERNELS)
@pytest.mark.parametrize("embedding, recurrent_bias", [(None, True), (3, True), (None, False)])
def test_logits_and_state_are_those_of_the_equations(cell, embedding, recurrent_bias):
    V, L, H = 5, 2, 4
    net = network(cell, V, L, H, embedding, recurrent_bias=recurrent_bias)
    symbols = torch.tensor([[0, 4], [2, 2], [V, 1], [3, 0]])           # V: unknown
    logits, state = net(symbols, net.start(2))
    weights = dict(net.recurrence.named_parameters())
    for b in range(2):
        states = [[torch.zeros(H, dtype=torch.double)] * len(state) for _ in range(L)]
        for t in range(4):
            symbol = symbols[t, b].item()
            if symbol == V:
                x = torch.zeros(embedding or V, dtype=torch.double)
            else:
                x = F.one_hot(torch.tensor(symbol), V).double() if embedding is None else net.embedding.weight[symbol]
            for layer in range(L):
                w = {name.removesuffix(f"_l{layer}"): value for name, value in weights.items() if name.endswith(f"_l{layer}")}
                states[layer] = naive_step(cell, w, x, states[layer])
                x = states[layer][0]
            torch.testing.assert_close(logits[t, b], net.readout.weight @ x + net.readout.bias, rtol=1e-12, atol=1e-12)
        for k, part in enumerate(state):
            torch.testing.assert_close(part[:, b], torch.stack([layer[k] for layer in states]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", KERNELS)
def test_chunked_equals_whole(cell):
    net = network(cell)
    symbols = torch.randint(0, 5, (9, 3))
    whole, end = net(symbols, net.start(3))
    first, state = net(symbols[:4], net.start(3))
    second, state = net(symbols[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    for part, expected in zip(state, end, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-12)


def test_dropout_acts_between_layers_and_before_the_readout_in_training_only():
    net = network("rnn", dropout=0.5)
    symbols = torch.randint(0, 5, (6, 3))
    drawn = [net(symbols, net.start(3))[0] for _ in range(2)]
    assert not torch.equal(*drawn)
    net.eval()
    assert torch.equal(*(net(symbols, net.start(3))[0] for _ in range(2)))
    assert net.recurrence.dropout == 0.5 and network("rnn", layers=1, dropout=0.5).recurrence.dropout == 0.0
