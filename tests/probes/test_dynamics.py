"""What is said of networks that are left to themselves."""

import json
import math

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.attractors import Attractors
from pipeline.datasets.hello import Hello
from pipeline.models.fully_recurrent import FullyRecurrent
from pipeline.models.hopfield import Hopfield
from pipeline.probes.dynamics import KINDS, Dynamics, by_gain, drawn, examples, kind_of
from tests.recurrence.networks import network_of

N = 40
POINT, CYCLE, TURNING, CHAOS = KINDS


def network(weights: torch.Tensor) -> tuple[FullyRecurrent, Attractors]:
    """h_t = tanh(W h_{t-1})."""
    data = Attractors(6, len(weights), 0.1, 2, 1, 0, 10, 20)
    network = FullyRecurrent(data.reads, data.answers, data.given, "initial", 0, 0.0)
    network.finish_initialization()
    network.stack.cells[0].recurrent["h"].data.copy_(weights)
    return network, data


def gained(gain: float) -> torch.Tensor:
    return gain / math.sqrt(N) * torch.randn(N, N, generator=torch.Generator().manual_seed(2))


def test_points_cycles_turning_and_chaos_come_as_weights_grow():
    """Diagonal weights 2: each unit goes to one of +-0.9575, as it started. -2: to both in turn. A rotation by an
    irrational part of a turn with a growth that tanh limits: no period. Gaussian ones of gain 4: chaos."""
    angle, (c, s) = 0.7, (math.cos(0.7), math.sin(0.7))
    turn = 1.2 * torch.block_diag(*[torch.tensor([[c, -s], [s, c]])] * 2)
    probe = Dynamics(starts=5, transient=300, steps=60, longest=10)
    kinds = {POINT: 2.0 * torch.eye(4), CYCLE: -2.0 * torch.eye(4), TURNING: turn, CHAOS: gained(4.0)}
    found = {kind: probe.measure(*network(weights), seed=0) for kind, weights in kinds.items()}
    for kind, one in found.items():
        assert one["kinds"] == {other: 5 * (other == kind) for other in KINDS}
        assert one["chaotic"] == (kind == CHAOS) and list(one["shown"]) == [kind]
        assert [len(unit) for unit in one["shown"][kind]] == [60] * 3
        assert one["radius"] == pytest.approx(abs(torch.linalg.eigvals(kinds[kind])).max().item(), rel=1e-5)
    h = 0.957504024  # tanh(2 h) = h
    slope = math.log(2 * (1 - h * h))
    assert found[POINT]["lyapunov"] == pytest.approx(slope) == found[CYCLE]["lyapunov"]
    assert found[POINT]["stable_points"] > 4 and found[CYCLE]["fixed_points"] == 1 and not found[CYCLE]["stable_points"]
    assert (found[POINT]["period"], found[CYCLE]["period"]) == (None, 2)
    assert abs(found[TURNING]["lyapunov"]) < 0.01 and found[TURNING]["period"] == pytest.approx(
        2 * math.pi / angle, 0.05
    )
    assert found[CHAOS]["lyapunov"] > 0.1


def test_an_exponent_near_0_is_no_chaos():
    assert [kind_of(1, -1.0), kind_of(7, -0.1), kind_of(None, 0.009), kind_of(None, 0.011)] == list(KINDS)


def test_networks_fit_whose_states_are_numbers_that_change_a_little():
    probe, attractors = Dynamics(2, 10, 4, 2), Attractors(2, 4, 0.1, 2, 1, 0, 10, 10)
    hello = Hello()
    assert probe.fits(network_of("lstm", hello.reads, hello.answers, 3), hello)
    assert not probe.fits(network_of("lstm", hello.reads, hello.answers, 600), hello)  # 1,200 numbers
    assert not probe.fits(Hopfield(attractors.reads, attractors.answers, attractors.given), attractors)
    with pytest.raises(Refusal, match="^probe dynamics: steps=19: "):
        Dynamics(2, 10, 19, 10)


def row(optimizer: str, radii: list[float], kind: str) -> dict:
    runs = [
        {"found": {"radius": radius, "lyapunov": math.log(radius), "shown": {kind: [[radius] * 9] * 3}}}
        for radius in radii
    ]
    return {"name": f"rnn {optimizer}", "model": "rnn", "optimizer": optimizer, "study": "dynamics", "runs": runs}


def test_the_page_has_exponents_by_gain_and_an_orbit_of_each_kind():
    rows = [row("adam", [2.0], CYCLE), row("untrained", [3.0, 0.5], POINT), row("untrained", [1.5], POINT)]
    [axes] = by_gain(rows).axes
    points = {line.get_label(): list(line.get_xdata()) for line in axes.lines if line.get_marker() in "os"}
    assert points == {"rnn adam": [2.0], "rnn untrained": [0.5, 1.5, 3.0]}
    found = examples(rows)
    assert {kind: name for kind, (name, _) in found.items()} == {POINT: "rnn untrained", CYCLE: "rnn adam"}
    assert [axes.get_title() for axes in drawn(found).axes] == [POINT, CYCLE]
    first, second = Dynamics(2, 10, 4, 2).show(json.loads(json.dumps(rows)))
    assert first.html.startswith("<svg") and "limit cycle, rnn adam." in second.about
