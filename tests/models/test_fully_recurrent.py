"""The fully recurrent network against one loop over single units, for each way of giving inputs and targets."""

import math

import numpy as np
import pytest
import torch

from pipeline.datasets.attractors import Attractors
from pipeline.datasets.batch import Batch
from pipeline.datasets.hello import Hello
from pipeline.datasets.space import Bits, Reals, Symbols
from pipeline.models.fully_recurrent import FullyRecurrent
from tests.datasets.problems import Shift, Untold

T, B = 5, 3
# Name -> what is read, answered and given, `inputs`, `hidden`, and the units that there are to be.
WAYS = {
    "all start": (Reals(0), Bits(4), (Reals(4),), "initial", 0, 4),
    "a subset starts": (Reals(2), Bits(2), (Reals(3),), "initial", 3, 6),
    "a subset is clamped": (Reals(2), Bits(2), (Reals(3), Bits(1)), "clamped", 3, 5),
    "clamped beside symbols": (Symbols(3), Symbols(2), (Reals(3),), "clamped", 2, 4),
    "nothing given": (Symbols(3), Reals(2), (), "clamped", 2, 4),
}


def filled(reads, answers, given, inputs, hidden, gain=None):
    torch.manual_seed(0)
    network = FullyRecurrent(reads, answers, given, inputs, hidden, gain).double()
    for _, parameter in network.parameters_by_role():
        torch.nn.init.normal_(parameter)
    network.run_on("cpu", "reference")
    return network


def read(reads, given):
    torch.manual_seed(1)
    x = (
        torch.randint(reads.count + 1, (T, B))
        if isinstance(reads, Symbols)
        else torch.randn(T, B, reads.width).double()
    )
    return x, tuple(torch.randn(B, space.width).double() for space in given)


def loop(network, x, given, clamped):
    """Unit by unit: all activities [T, B, N], and what goes into each unit before tanh. Clamped units are units of the
    vector too: whatever comes into them, they are set to what is given."""
    [cell] = network.stack.cells
    U, W, b = (p.detach().numpy() for p in (cell.input_weight, cell.recurrent["h"], cell.input_bias))
    symbols, D, N = isinstance(network.reads, Symbols), network.reads.width, len(W)
    h_all, a_all = np.zeros((T, B, N)), np.zeros((T, B, N))
    for k in range(B):
        numbers = [float(one) for part in given for one in part[k]]
        held = numbers if clamped else []
        unit = ([] if clamped else numbers) + [0.0] * N
        unit = unit[:N]
        for t in range(T):
            a = [b[i] + sum(W[i, j] * unit[j] for j in range(N)) for i in range(N)]
            for i in range(N):
                if symbols:
                    a[i] += U[i, x[t, k]] if x[t, k] < D else 0.0
                else:
                    a[i] += sum(U[i, d] * float(x[t, k, d]) for d in range(D))
                a[i] += sum(U[i, D + g] * one for g, one in enumerate(held))
            unit = [math.tanh(one) for one in a]
            h_all[t, k], a_all[t, k] = unit, a
    return h_all, a_all


@pytest.mark.parametrize("way", WAYS)
def test_it_is_a_loop_over_units(way):
    reads, answers, given, inputs, hidden, units = WAYS[way]
    network = filled(reads, answers, given, inputs, hidden)
    x, numbers = read(reads, given)
    z, [h], state = network.observe(x, network.start(B, *numbers))
    expected_h, a = loop(network, x, numbers, inputs == "clamped")
    assert h.shape == (T, B, units)
    np.testing.assert_allclose(h.detach(), expected_h, atol=1e-12)
    outputs = slice(answers.width)
    if isinstance(answers, Bits):  # the probability of 1 whose expectation of bits +-1 is the unit's activity
        np.testing.assert_allclose(2 * torch.sigmoid(z).detach() - 1, expected_h[..., outputs], atol=1e-12)
    else:
        expected = a[..., outputs] if isinstance(answers, Symbols) else expected_h[..., outputs]
        np.testing.assert_allclose(z.detach(), expected, atol=1e-12)
    np.testing.assert_allclose(state[0][0].detach(), expected_h[-1], atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_pieces_go_on_with_what_was_given(way):
    reads, answers, given, inputs, hidden, _ = WAYS[way]
    network = filled(reads, answers, given, inputs, hidden)
    x, numbers = read(reads, given)
    whole, after = network(x, network.start(B, *numbers))
    state, parts = network.start(B, *numbers), []
    for piece in x.split([1, 3, 1]):
        part, state = network(piece, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)
    for one, other in zip(network.activities(x, network.start(B, *numbers))[1], after, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("asked", ["end", "last", "every"])
@pytest.mark.parametrize("inputs", ["initial", "clamped"])
def test_gradients_are_those_of_differences_wherever_it_is_asked(inputs, asked):
    network = filled(Reals(1), Bits(2), (Reals(2),), inputs, 1)
    x, numbers = read(network.reads, network.given)
    targets = network.answers.blank(T, B).double()
    targets[{"end": -1, "last": slice(-3, None), "every": slice(None)}[asked]] = 1.0
    batch = Batch(x, targets, 1)
    loss = lambda: network.loss(batch, network.start(B, *numbers))[0]
    loss().backward()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        for entry, gradient in zip(parameter.data.view(-1).split(1), parameter.grad.view(-1).tolist()):
            entry += 1e-5
            above = loss().item()
            entry -= 2e-5
            below = loss().item()
            entry += 1e-5
            assert gradient == pytest.approx((above - below) / 2e-5, rel=1e-6, abs=1e-8), name


def test_a_random_network_has_the_variance_of_its_gain():
    network = FullyRecurrent(Reals(0), Bits(300), (Reals(300),), "initial", 0, 1.5)
    network.finish_initialization()
    [cell] = network.stack.cells
    assert cell.recurrent["h"].std().item() == pytest.approx(1.5 / math.sqrt(300), rel=0.01)
    assert abs(cell.recurrent["h"].mean()) < 0.001 and not cell.input_bias.any()


def test_numbers_can_be_given_and_symbols_cannot():
    attractors = Attractors(2, 5, 0.1, 3, 1, 0, 10, 10)
    assert (
        FullyRecurrent.fits(attractors) is FullyRecurrent.fits(Hello()) is FullyRecurrent.fits(Shift(0, 1, 1)) is None
    )
    assert "not symbols: take" in FullyRecurrent.fits(Untold(0, 1, 1))
