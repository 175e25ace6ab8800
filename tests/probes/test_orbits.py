"""Orbits of maps of which all is known, and of networks against their own steps."""

import math

import numpy as np
import pytest
import torch

from pipeline.datasets.data import load_data
from pipeline.models.fully_recurrent import FullyRecurrent
from pipeline.probes.orbits import FreeRun, fixed_points, follow, jacobians, periods, turning
from tests.conftest import composed
from tests.datasets.problems import Adding, Shift
from tests.recurrence.networks import network_of


def alone(function):
    """A map that is the same from every start."""
    return lambda v, start: function(v)


def rotation(angle: float, factor: float = 1.0) -> torch.Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return factor * torch.tensor([[c, -s], [s, c]], dtype=torch.double)


def starts(count: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, n, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def test_the_exponent_of_a_linear_map_is_the_logarithm_of_its_spectral_radius():
    """Of a matrix that is far from normal, whose norms say more than its eigenvalues."""
    matrix = torch.tensor([[0.5, 30.0, 0.0], [0.0, 0.9, 10.0], [0.0, 0.0, -0.7]], dtype=torch.double)
    found = follow(alone(lambda v: v @ matrix.t()), starts(2, 3), 100, 100, seed=1).exponents
    np.testing.assert_allclose(found, math.log(0.9), atol=1e-9)


@pytest.mark.parametrize(
    "function, exponent, within",
    [
        (lambda v: 4 * v * (1 - v), math.log(2), 0.02),  # the logistic map (Ulam and von Neumann 1947)
        (lambda v: 1.7 * torch.minimum(v, 1 - v), math.log(1.7), 1e-9),  # a tent
        (lambda v: 3.2 * v * (1 - v), math.log(0.16) / 2, 1e-9),  # a cycle of 2: |f'(a) f'(b)| = |4 + 2r - r^2|
    ],
)
def test_exponents_are_those_of_maps_that_have_been_worked_out(function, exponent, within):
    found = follow(alone(function), starts(100, 1), 120, 100, seed=0)
    assert found.states.shape == (100, 100, 1) and found.exponents.shape == (100,)
    assert found.exponents.mean().item() == pytest.approx(exponent, abs=within)


def test_a_rotation_neither_parts_nor_joins_and_turns_in_its_time():
    found = follow(alone(lambda v: v @ rotation(2 * math.pi / 12.5).t()), starts(1, 2), 10, 100, seed=0)
    assert abs(found.exponents.item()) < 1e-12
    assert periods(found.states, 12) == [None] and periods(found.states, 25) == [25]
    assert turning(found.states[:, 0]) == pytest.approx(12.5, rel=0.01)
    assert turning(torch.linspace(0, 1, 50)[:, None]) is None


def test_orbits_begin_after_the_transient():
    found = follow(alone(lambda v: v + 1), torch.zeros(1, 1, dtype=torch.double), 250, 3, seed=0)
    assert found.states[:, 0, 0].tolist() == [251, 252, 253]
    assert follow(alone(lambda v: v + 1), torch.zeros(1, 1).double(), 4, 2, 0).states[:, 0, 0].tolist() == [5, 6]


def test_the_period_is_the_least_one():
    """A ring of units, each saturated by the one before it: a pulse goes round in as many steps."""
    ring = 8 * torch.eye(6, dtype=torch.double).roll(1, 0)
    pulse = -torch.ones(3, 6, dtype=torch.double)
    pulse[0, 0] = pulse[1, [0, 3]] = 1
    states = follow(alone(lambda v: torch.tanh(v @ ring.t())), pulse, 100, 40, seed=0).states
    assert periods(states, 20) == [6, 3, 1] and periods(states, 5) == [None, 3, 1]


def grid_of_fixed_points(function) -> list[tuple[float, float]]:
    """Cells of a fine grid within which both numbers of F(v) - v change their sign, one for each cluster of them."""
    line = np.linspace(-1, 1, 1001)
    v = np.stack(np.meshgrid(line, line, indexing="ij"), -1)
    off = function(v) - v
    corners = np.stack([off[i : 1000 + i, j : 1000 + j] for i in (0, 1) for j in (0, 1)])
    both = ((corners.min(0) <= 0) & (corners.max(0) >= 0)).all(-1)
    found: list[tuple[float, float]] = []
    for i, j in np.argwhere(both):
        point = line[i] + 0.001, line[j] + 0.001
        if all(math.dist(point, other) > 0.05 for other in found):
            found.append(point)
    return found


@pytest.mark.parametrize("weights", [[[2.0, 0.3], [-0.2, 1.8]], [[0.5, 0.1], [0.0, -0.4]], [[0.4, -1.5], [1.5, 0.4]]])
def test_fixed_points_of_two_units_are_those_of_a_fine_grid(weights):
    W = np.array(weights)
    grid = grid_of_fixed_points(lambda v: np.tanh(v @ W.T))
    step = alone(lambda v: torch.tanh(v @ torch.from_numpy(W).t()))
    begin = 2 * starts(200, 2) - 1
    found = fixed_points(step, begin, torch.arange(200))
    assert len(found) == len(grid) == (9 if W[0, 0] == 2 else 1)
    for point in found:
        assert min(math.dist(point.v.tolist(), other) for other in grid) < 0.005
        h = point.v.numpy()
        jacobian = (1 - h**2)[:, None] * W
        assert point.radius == pytest.approx(abs(np.linalg.eigvals(jacobian)).max())
        near = follow(step, point.v[None] + 1e-4, 200, 1, 0).states[-1, 0]
        assert (math.dist(near.tolist(), h) < 1e-4) == (point.radius < 1)


def test_a_newton_step_that_leads_away_is_halved():
    """Newton's method for arctan v = 0 runs away from 3 unless it is."""
    [point] = fixed_points(alone(lambda v: v - torch.atan(v)), torch.full((1, 1), 3.0).double(), torch.arange(1))
    assert abs(point.v.item()) < 1e-9 and point.radius == pytest.approx(0)


def test_no_point_is_found_where_there_is_none():
    assert fixed_points(alone(lambda v: v + 1), starts(4, 2), torch.arange(4)) == []
    assert fixed_points(alone(lambda v: v * v + v + 0.1), starts(4, 1), torch.arange(4)) == []


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_network_reads_zeros_and_moves_by_its_whole_state(name):
    data = Adding(6, 0.1, 0, 10, 8)
    network = network_of(name, data.reads, data.answers, 3, layers=2)
    free = FreeRun(network, data, 4)
    batch = next(iter(data.held_out("test"))).to(torch.device("cpu"), torch.float64)
    _, state = network(batch.inputs[:, :4], network.start(4))
    flat = lambda state: torch.cat([part.transpose(0, 1).flatten(1) for part in state], 1)
    torch.testing.assert_close(free.starts, flat(state))
    _, later = network(torch.zeros(3, 4, 2).double(), state)
    v = free.starts
    for _ in range(3):
        v = free(v, torch.arange(4))
    torch.testing.assert_close(v, flat(later))
    some = torch.tensor([2, 0])
    expected = [torch.autograd.functional.jacobian(lambda v: free(v[None], some[:1])[0], v[k]) for k in some]
    torch.testing.assert_close(jacobians(free, v[some], some), torch.stack(expected))


def test_what_is_clamped_stays_with_its_start_and_does_not_move():
    data = Shift(0, 10, 8)
    torch.manual_seed(0)
    network = FullyRecurrent(data.reads, data.answers, data.given, "clamped", 2, None)
    free = FreeRun(network, data, 5)
    assert free.starts.shape == (5, 6)
    batch = next(iter(data.held_out("test"))).to(torch.device("cpu"), torch.float64)
    [cell] = free.network.stack.cells
    some = torch.tensor([4, 1, 1])
    v = starts(3, 6)
    a = v @ cell.recurrent["h"].t() + batch.given[0][some] @ cell.input_weight[:, 4:].t() + cell.input_bias
    torch.testing.assert_close(free(v, some), torch.tanh(a))


def test_a_series_is_fed_back_as_in_its_forecast():
    data = load_data(composed("data=mackey_glass", "data.length=3000").data)
    network = network_of("gru", data.reads, data.answers, 3)
    free = FreeRun(network, data, 4)
    assert free.fed_back and free.starts.shape == (4, 4)
    v, every = free.starts, torch.arange(4)
    state, read = v[None, :, :3], v[:, 3:]
    for _ in range(3):
        v = free(v, every)
        z, (state,) = network(read[None], (state,))
        read = z[0]
    torch.testing.assert_close(v, torch.cat([state[0], read], 1))
