import math

import torch
from torch import nn

from pipeline.learning.initializations import library, normal, uniform
from pipeline.models.recurrent import RecurrentNetwork


def network(recurrent_bias=True):
    torch.manual_seed(0)
    return RecurrentNetwork(50, nn.LSTM, 1, 64, None, 0.0, recurrent_bias)


def test_library_is_what_pytorch_draws():
    net = network()
    torch.manual_seed(0)
    theirs = nn.LSTM(50, 64)
    library(net)
    for ours, expected in zip(net.recurrence.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(ours, expected) and ours.abs().max() <= 1 / math.sqrt(64)


def test_normal_has_its_deviation_and_zero_biases():
    net = network()
    normal(net, 0.01)
    for name, parameter in net.named_parameters():
        if "bias" in name:
            assert (parameter == 0).all()
        else:
            assert abs(parameter.std().item() - 0.01) < 0.001 and abs(parameter.mean().item()) < 0.001


def test_uniform_fills_its_interval_biases_too():
    net = network()
    uniform(net, 0.08)
    for parameter in net.parameters():
        assert 0.06 < parameter.abs().max() <= 0.08
        assert abs(parameter.std().item() - 0.08 / math.sqrt(3)) < 0.01


def test_a_bias_held_at_zero_stays_there():
    net = network(recurrent_bias=False)
    uniform(net, 0.08)
    assert (net.recurrence.bias_hh_l0 == 0).all()
