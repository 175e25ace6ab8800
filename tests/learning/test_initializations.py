import math

import pytest
import torch

from pipeline.learning.initializations import library, normal, uniform
from tests.models.test_recurrent import network as build


def network(**options):
    return build("lstm", symbols=50, layers=1, hidden=64, **options)


def test_library_is_uniform_in_one_over_the_root_of_h():
    net = network()
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    library(net)
    for name, parameter in net.stack.cells.named_parameters():
        assert torch.equal(parameter, before[f"stack.cells.{name}"]) and 0.9 / 8 < parameter.abs().max() <= 1 / 8
        assert parameter.std().item() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.1)


def test_normal_has_its_deviation_and_zero_biases():
    net = network()
    normal(net, 0.01)
    for name, parameter in net.named_parameters():
        if "bias" in name or "initial" in name:
            assert (parameter == 0).all()
        else:
            assert abs(parameter.std().item() - 0.01) < 0.001 and abs(parameter.mean().item()) < 0.001


def test_uniform_fills_its_interval_biases_too():
    net = network(recurrent_bias=True)
    uniform(net, 0.08)
    for name, parameter in net.named_parameters():
        if "initial" not in name:
            assert 0.06 < parameter.abs().max() <= 0.08
            assert abs(parameter.std().item() - 0.08 / math.sqrt(3)) < 0.01


def test_what_a_paper_sets_survives_the_draw():
    for draw in (lambda net: normal(net, 0.01), lambda net: uniform(net, 0.08)):
        net = build("lstm_forget_bias", symbols=50, layers=1, hidden=64, initial_state=0.25, learned=True)
        draw(net)
        net.finish_initialization()
        assert net.stack.cells[0].input_bias[64:128].mean().item() == pytest.approx(1, abs=0.05)
        assert all((part == 0.25).all() for part in net.stack.initial)
