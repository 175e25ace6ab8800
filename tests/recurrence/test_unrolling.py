"""A recurrent network is a layered network with tied weights: backpropagation through time gives the sum of the
gradients of the layers' own copies."""

import pytest
import torch
from torch import nn

from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Reals
from tests.recurrence.networks import network_of

T, B, D, H = 6, 2, 3, 4


def rnn_layer(w, x, h):
    return (torch.tanh(x @ w["input_weight"].T + h @ w["recurrent.h"].T + w["input_bias"]),)


def lstm_layer(w, x, h, c):
    sums = x @ w["input_weight"].T + h @ w["recurrent.gates"].T + w["input_bias"]
    i, f, g, o = (sums[:, k * H : (k + 1) * H] for k in range(4))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_layer(w, x, h):
    of_x = x @ w["input_weight"].T + w["input_bias"]
    r, z = (torch.sigmoid(of_x[:, rows] + h @ w["recurrent.gates"][rows].T) for rows in (slice(H), slice(H, 2 * H)))
    candidate = torch.tanh(of_x[:, 2 * H :] + (r * h) @ w["recurrent.candidate"].T)
    return (z * h + (1 - z) * candidate,)


LAYERS = {"rnn": (rnn_layer, 1), "lstm": (lstm_layer, 2), "gru": (gru_layer, 1)}


@pytest.mark.parametrize("asked", ["at every step", "at the end"])
@pytest.mark.parametrize("engine", ["reference", "deferred", "fused"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_of_a_tied_weight_is_the_sum_over_its_copies(name, engine, asked):
    network = network_of(name, Reals(D), Reals(1), H)
    network.run_on("cpu", engine)
    x, y = torch.randn(T, B, D, dtype=torch.double), torch.randn(T, B, 1, dtype=torch.double)
    if asked == "at the end":
        y[:-1] = torch.nan
    loss, _ = network.loss(Batch(x, y, 1), network.start(B))
    loss.backward()

    layer, parts = LAYERS[name]
    tied = dict(network.stack.cells[0].named_parameters())
    copies = [{key: nn.Parameter(weight.detach().clone()) for key, weight in tied.items()} for _ in range(T)]
    state, unrolled = [torch.zeros(B, H, dtype=torch.double)] * parts, 0.0
    for weights, x_t, y_t in zip(copies, x, y):
        state = layer(weights, x_t, *state)
        if not y_t.isnan().any():
            z = state[0] @ network.readout.weight.detach().T + network.readout.bias.detach()
            unrolled = unrolled + ((z - y_t) ** 2).sum()
    unrolled.backward()
    torch.testing.assert_close(loss, unrolled)
    for key, weight in tied.items():
        of_copies = torch.stack([one[key].grad for one in copies])
        assert len({tuple(one.flatten().tolist()) for one in of_copies}) == T  # every layer has a gradient of its own
        torch.testing.assert_close(weight.grad, of_copies.sum(0), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", LAYERS)
def test_twice_the_error_is_twice_the_gradient_but_twice_the_input_not_twice_the_output(name):
    network, x = network_of(name, Reals(D), Reals(1), H), torch.randn(T, B, D, dtype=torch.double)
    outputs, _ = network.activities(x, network.start(B))
    error, parameters = torch.randn(T, B, H, dtype=torch.double), list(network.stack.cells.parameters())
    once = torch.autograd.grad(outputs[0], parameters, error, retain_graph=True)
    twice = torch.autograd.grad(outputs[0], parameters, 2 * error)
    assert all(torch.equal(2 * one, other) for one, other in zip(once, twice))  # to the bit
    doubled, _ = network.activities(2 * x, network.start(B))
    assert doubled[0].norm() < 1.9 * outputs[0].norm()
