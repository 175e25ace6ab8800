import copy
import math

import numpy as np
import pytest
import torch

from pipeline.learning.initializations import echo_state, gaussian, identity, library, orthogonal, sparse, uniform
from tests.learning.test_roles import network as of_model
from tests.models.test_recurrent import network as build

EVERY = {
    "gaussian": lambda net: gaussian(net, 0.01),
    "uniform": lambda net: uniform(net, 0.08),
    "orthogonal": lambda net: orthogonal(net, 1.0),
    "identity": lambda net: identity(net, 1.0, 0.001),
    "sparse": lambda net: sparse(net, 15, 1.0),
    "echo_state": lambda net: echo_state(net, 1.1, 15, 0.001, 0.1),
}
# Model -> the square matrices of its recurrent parameters, by hand: a gate each, or an input symbol each.
SQUARES = {"rnn": 1, "gru": 3, "lstm": 4, "lstm_peephole": 4, "mrnn": 2, "mlstm": 5, "mrnn_full": 9}


def network(**options):
    return build("lstm", symbols=50, layers=1, hidden=64, **options)


def squares(model: str, draw) -> list[np.ndarray]:
    """The matrices [8, 8] that act on the units of a model of 8, with one layer."""
    net = of_model(model, "scale.layers=1")
    torch.manual_seed(3)
    draw(net)
    found = [p.detach().numpy().reshape(-1, 8, 8) for name, p in net.named_parameters() if ".recurrent." in name]
    return [matrix for part in found for matrix in part]


def parts(net) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in net.named_parameters()}


def test_library_is_uniform_in_one_over_the_root_of_h():
    net = network()
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    library(net)
    for name, parameter in net.stack.cells.named_parameters():
        assert torch.equal(parameter, before[f"stack.cells.{name}"]) and 0.9 / 8 < parameter.abs().max() <= 1 / 8
        assert parameter.std().item() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.1)


def test_gaussian_has_its_deviation_and_zero_biases():
    net = network()
    gaussian(net, 0.01)
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


@pytest.mark.parametrize("model, count", SQUARES.items())
def test_orthogonal_is_for_each_gate(model, count):
    found = squares(model, lambda net: orthogonal(net, 1.5))
    assert len(found) == count
    for matrix in found:
        np.testing.assert_allclose(matrix.T @ matrix, 1.5**2 * np.eye(8), atol=1e-12)
    assert all(abs(one - other).max() > 0.1 for one, other in zip(found, found[1:]))


def test_orthogonal_sets_biases_to_zero_and_leaves_the_rest():
    net = network()
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    orthogonal(net, 1.0)
    for name, parameter in parts(net).items():
        if "bias" in name:
            assert (parameter == 0).all()
        else:
            assert torch.equal(parameter, before[name]) == ("recurrent" not in name)


def test_identity_is_for_each_gate():
    for matrix in squares("gru", lambda net: identity(net, 0.5, 0.001)):
        assert (matrix == 0.5 * np.eye(8)).all()
    net = network()
    identity(net, 1.0, 0.001)
    for name, parameter in parts(net).items():
        if "bias" in name:
            assert (parameter == 0).all()
        elif "recurrent" not in name and "initial" not in name:
            assert parameter.std().item() == pytest.approx(0.001, rel=0.05)


@pytest.mark.parametrize("model", ["lstm", "mrnn_full", "mlstm"])
def test_sparse_rows_have_so_many_weights(model):
    net = of_model(model, "scale.layers=1")
    sparse(net, 3, 2.0)
    for name, parameter in parts(net).items():
        if "bias" in name:
            assert (parameter == 0).all()
        elif "initial" not in name:
            assert ((parameter != 0).sum(-1) == 3).all(), name
    wide = network()
    sparse(wide, 15, 2.0)
    weights = torch.cat([p[p != 0] for name, p in parts(wide).items() if "weight" in name or "recurrent" in name])
    assert len(weights) == 15 * (256 + 256 + 50) and weights.std().item() == pytest.approx(2, rel=0.03)
    columns = (wide.stack.cells[0].recurrent["gates"] != 0).double().mean(0)  # 15/64 each, over 256 rows
    assert (columns - 15 / 64).abs().max() < 4 * math.sqrt(15 / 64 * 49 / 64 / 256)


def test_with_fewer_inputs_than_that_all_are_heard():
    net = of_model("rnn", "scale.layers=1")
    sparse(net, 15, 1.0)
    assert all((part != 0).all() for name, part in parts(net).items() if "weight" in name or "recurrent" in name)


@pytest.mark.parametrize("model, count", SQUARES.items())
def test_echo_state_has_its_spectral_radius_for_each_gate(model, count):
    found = squares(model, lambda net: echo_state(net, 1.1, 5, 0.001, 0.1))
    assert len(found) == count
    for matrix in found:
        assert abs(np.linalg.eigvals(matrix)).max() == pytest.approx(1.1)
        assert ((matrix != 0).sum(1) == 5).all()


def test_echo_state_has_the_papers_scales():
    net = network()
    echo_state(net, 1.1, 15, 0.001, 0.1)
    for name, parameter in parts(net).items():
        if "bias" in name:
            assert (parameter == 0).all()
        elif name in ("stack.cells.0.input_weight", "readout.weight"):
            assert parameter.std().item() == pytest.approx(0.001 if "input" in name else 0.1, rel=0.05)


def test_a_matrix_that_is_not_square_has_that_singular_value():
    """Of a multiplicative RNN with 12 factors and 8 units."""
    net = of_model("mrnn", "scale.layers=1", "model.cell.factors=12")
    echo_state(net, 1.1, 5, 0.001, 0.1)
    found = [p.detach().numpy() for name, p in net.named_parameters() if ".recurrent." in name]
    assert sorted(matrix.shape for matrix in found) == [(8, 12), (12, 8)]
    for matrix in found:
        assert np.linalg.norm(matrix, 2) == pytest.approx(1.1)
    orthogonal(net, 1.0)
    for matrix in found:
        product = matrix @ matrix.T if matrix.shape == (8, 12) else matrix.T @ matrix
        np.testing.assert_allclose(product, np.eye(8), atol=1e-12)


@pytest.mark.parametrize("model", ["lstm_peephole", "mut1", "mrnn_full", "feedforward_lm", "delay_taps"])
def test_a_draw_is_a_function_of_the_seed(model):
    net = of_model(model)
    for name, draw in EVERY.items():
        drawn = []
        for seed in (1, 1, 2):
            copied = copy.deepcopy(net)
            torch.manual_seed(seed)
            draw(copied)
            drawn.append(torch.cat([part.flatten() for part in parts(copied).values()]))
        one, again, other = drawn
        assert one.isfinite().all() and torch.equal(one, again), name
        nothing = name == "orthogonal" and model in ("feedforward_lm", "delay_taps")  # without recurrent matrices
        assert torch.equal(one, other) == nothing, name


def test_what_a_paper_sets_survives_the_draw():
    for draw in EVERY.values():
        net = build("lstm_forget_bias", symbols=50, layers=1, hidden=64, initial_state=0.25, learned=True)
        draw(net)
        net.finish_initialization()
        assert net.stack.cells[0].input_bias[64:128].mean().item() == pytest.approx(1, abs=0.05)
        assert all((part == 0.25).all() for part in net.stack.initial)
