"""The parameters as one vector against an optimizer on each of them."""

from functools import partial

import pytest
import torch

from pipeline.learning import flat
from tests.learning.test_gradient import fit, learning, trained

KINDS = [
    partial(torch.optim.SGD, lr=0.5),
    partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    partial(torch.optim.Adagrad, lr=0.1),
    partial(torch.optim.RMSprop, lr=0.01, centered=True, momentum=0.5),
    partial(torch.optim.Adam, lr=0.02, amsgrad=True),
    partial(torch.optim.AdamW, lr=0.02, weight_decay=0.1),
]


def states(module):
    return module.trainer.optimizers[0].state_dict()


def assert_same(one, other):
    """Numbers to the bit, wherever they are in dictionaries and lists."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif torch.is_tensor(one):
        assert one.shape == other.shape and torch.equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("optimizer", KINDS, ids=lambda one: one.func.__name__)
def test_an_optimizer_on_the_vector_does_and_keeps_what_one_on_each_does(optimizer, monkeypatch):
    def module():
        return learning(optimizer=optimizer, clip_value=0.02, clip_norm=0.05)

    together = module()
    fit(together, 4)
    monkeypatch.setattr(flat, "SMALL", 0)
    apart = module()
    fit(apart, 4)
    assert together.flat is not None and apart.flat is None
    assert_same(dict(together.network.state_dict()), dict(apart.network.state_dict()))
    assert_same(states(together), states(apart))

    # What one has kept the other goes on from, as if it had been its own.
    monkeypatch.undo()
    kept = states(apart)
    steps = [one["step"] for one in kept["state"].values() if "step" in one]
    assert len({id(step) for step in steps}) == len(steps)  # each its own: an optimizer counts in place
    together.trainer.optimizers[0].load_state_dict(kept)
    assert_same(states(together), kept)


def with_seldom_bias(optimizer, steps):
    """A module whose readout's bias has a gradient at these steps only, and what the bias is at each."""
    made, bias = learning(optimizer=optimizer, clip_norm=0.05), []
    loss = made.network.loss

    def seldom(batch, state):
        made.network.readout.bias.requires_grad_(made.global_step in steps)
        bias.append(made.network.readout.bias.detach().clone())
        return loss(batch, state)

    made.network.loss = seldom
    return made, bias


@pytest.mark.parametrize("optimizer", KINDS[1::3], ids=lambda one: one.func.__name__)
def test_parameters_without_a_gradient_are_left_alone(optimizer, monkeypatch):
    together, bias = with_seldom_bias(optimizer, {0, 1, 3, 4})
    fit(together, 5)
    assert not torch.equal(bias[1], bias[2]) and torch.equal(bias[2], bias[3]) and not torch.equal(bias[3], bias[4])
    monkeypatch.setattr(flat, "SMALL", 0)
    apart, _ = with_seldom_bias(optimizer, {0, 1, 3, 4})
    fit(apart, 5)
    assert_same(dict(together.network.state_dict()), dict(apart.network.state_dict()))
    assert_same(states(together), states(apart))


@pytest.mark.parametrize("steps", [{0, 1, 3, 4}, {3}, set()], ids=["seldom", "late", "never"])
@pytest.mark.parametrize("optimizer", KINDS[1::3], ids=lambda one: one.func.__name__)
def test_a_run_goes_on_though_a_parameter_was_left_alone(optimizer, steps, tmp_path):
    through, _ = with_seldom_bias(optimizer, steps)
    fit(through, 5)
    first, _ = with_seldom_bias(optimizer, steps)
    fit(first, 3)
    first.trainer.save_checkpoint(tmp_path / "checkpoint")
    second, _ = with_seldom_bias(optimizer, steps)
    fit(second, 2, tmp_path / "checkpoint")
    assert second.global_step == 5
    assert_same(dict(second.network.state_dict()), dict(through.network.state_dict()))
    assert_same(states(second), states(through))


def test_only_optimizers_that_treat_every_number_by_itself_get_the_vector():
    parameters = trained(learning())
    assert flat.Flat.suits(torch.optim.Adam(parameters), parameters)
    assert not flat.Flat.suits(torch.optim.Adafactor(parameters), parameters)  # scales by a matrix's rows and columns
    assert not flat.Flat.suits(
        torch.optim.Adam([*parameters, torch.nn.Parameter(torch.zeros(1))]),
        [*parameters, torch.nn.Parameter(torch.zeros(1))],
    )
