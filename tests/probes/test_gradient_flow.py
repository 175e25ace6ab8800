import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.cells.gru import GRU
from pipeline.command.settings import CONF
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Reals, Symbols
from pipeline.learning.gradient import GradientLearning
from pipeline.models.delay_taps import DelayTaps
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.probes.backward_signal import rectifier_norms, squashing
from pipeline.probes.gradient_flow import GradientFlow, spaced
from pipeline.probes.state_gradients import asked_sequences, clipped, gradient_norms, jacobian, singular_values
from tests.datasets.problems import Adding, Latch, Shift
from tests.recurrence.networks import network_of

SETTINGS = {
    "steps": 20,
    "sequences": 3,
    "most_state": 64,
    "batches": 3,
    "batch": 4,
    "length": None,
    "loss": "mean",
    "clip_value": None,
    "clip_norm": 0.01,
    "units": 5,
    "time": 50,
    "eigenvalues": [0.5, 1.0, 2.0],
    "draws": 50,
    "seed": 0,
}


@pytest.mark.parametrize("rectified", [True, False])
def test_the_rectifiers_gradient_is_that_of_autograd(rectified):
    units, steps, draws, seed = 5, 12, 6, 3
    norms = rectifier_norms(units, steps, 1.3, draws, seed, rectified)
    rng = np.random.default_rng(seed)
    W, h, dh = (torch.from_numpy(rng.standard_normal((draws, units, width))) for width in (units, 1, 1))
    for k in range(draws):
        matrix = W[k] * 1.3 / torch.linalg.eigvals(W[k]).abs().max()
        states = [h[k].requires_grad_()]
        for _ in range(steps):
            states.append(matrix @ states[-1] if not rectified else torch.relu(matrix @ states[-1]))
        gradients = torch.autograd.grad((states[-1] * dh[k]).sum(), states)
        expected = [gradient.norm() / dh[k].norm() for gradient in reversed(gradients)]
        np.testing.assert_allclose(norms[k], expected, rtol=1e-9)


def test_the_largest_eigenvalue_decides_as_the_lecture_says():
    """The same networks but for their scale: what is passed back grows by the ratio at every step."""
    one, more = (rectifier_norms(5, 50, radius, 100, 0) for radius in (1.0, 1.5))
    np.testing.assert_allclose(more, one * 1.5 ** np.arange(51), rtol=1e-9)
    for radius in (0.7, 1.4):
        late = rectifier_norms(5, 400, radius, 20, 0, rectified=False)[:, [200, 400]]
        rate = (late[:, 1] / late[:, 0]) ** (1 / 200)
        np.testing.assert_allclose(rate, radius, rtol=0.02)


def test_the_forward_pass_squashes_and_the_backward_pass_is_linear():
    forward, backward = squashing(5, 10, [0.0, 0.5, 1.0, 2.0, 1000.0], seed=0)
    np.testing.assert_allclose(backward, [0.0, 0.5, 1.0, 2.0, 1000.0])
    assert forward[0] == 0 and forward[2] == 1 and 0.5 < forward[1] < 1 < forward[3] < forward[4] < 1.5


def asked_at_the_end(network, steps=7):
    x = torch.randn(steps, 1, 2, dtype=torch.double)
    return Batch(x, torch.randn(steps, 1, 1, dtype=torch.double), 1)


@pytest.mark.parametrize("name, layers", [("rnn", 1), ("lstm", 2), ("gru", 2), ("lstm_fgr", 1)])
def test_gradients_and_jacobians_are_those_of_the_whole_map_by_differences(name, layers):
    network = network_of(name, Reals(2), Reals(1), 3, layers)
    sequence = asked_at_the_end(network)
    x, last = sequence.inputs, len(sequence.inputs) - 1
    norms = gradient_norms(network, sequence, 5)
    values = singular_values(network, sequence, 5, [1, 3, 5])
    assert len(norms) == 6 and list(values) == [1, 3, 5]

    @torch.no_grad()
    def run(numbers, first):
        """From the state's numbers before step `first` to those before the last step, and the last step's loss."""
        parts = numbers.split([part[:, 0].numel() for part in network.start(1)])
        state = tuple(part.view(layers, 1, -1) for part in parts)
        if first < last:
            _, state = network(x[first:last], state)
        z, _ = network(x[last:], state)
        return torch.cat([part.flatten() for part in state]), ((z - sequence.targets[last:]) ** 2).sum()

    for lag in (0, 1, 3, 5):
        with torch.no_grad():
            _, state = network(x[: last - lag], network.start(1))
        at, step = torch.cat([part.flatten() for part in state]), 1e-5
        ends = [[run(at + sign * step * unit, last - lag) for sign in (1, -1)] for unit in torch.eye(len(at)).double()]
        gradient = torch.stack([(up[1] - down[1]) / (2 * step) for up, down in ends])
        assert norms[lag] == pytest.approx(gradient.norm().item(), rel=1e-6)
        if lag in values:
            whole = torch.stack([(up[0] - down[0]) / (2 * step) for up, down in ends], dim=1)
            expected = torch.linalg.svdvals(whole)
            assert values[lag][0] == pytest.approx(expected[0].item(), rel=1e-6)
            np.testing.assert_allclose(values[lag], expected, atol=1e-7 * expected[0].item())


def test_a_jacobians_rows_are_what_comes_out():
    """An RNN's J = diag(1 - h^2) W."""
    network = network_of("rnn", Reals(2), Reals(1), 3)
    x, state = torch.randn(1, 1, 2, dtype=torch.double), (torch.randn(1, 1, 3, dtype=torch.double),)
    with torch.no_grad():
        _, (h,) = network(x, state)
        expected = (1 - h.view(3, 1) ** 2) * network.stack.cells[0].recurrent["h"]
    torch.testing.assert_close(jacobian(network, x, state), expected)


def test_the_gradient_of_delay_taps_ends_with_the_taps():
    """Nothing of before K steps is in the state: the gradient is 0 there, and not a small number."""
    data = Adding(9, 0.1, seed=0, episodes=10, held=20)
    taps = DelayTaps(Reals(2), Reals(1), (), 3)
    with torch.no_grad():
        taps.weight.normal_()
    found = GradientFlow(**SETTINGS).measure(taps, data, 0)
    kept = [norm > 0 for norm in found["norms"]]
    assert kept == [True] * 2 + [False] * (len(kept) - 2) and found["reach"] == 2


def test_sequences_end_with_what_is_asked_last_and_begin_as_they_do():
    network, data = network_of("lstm", Reals(2), Reals(1), 3), Adding(9, 0.1, seed=0, episodes=10, held=20)
    found = list(asked_sequences(network, data, "test", 7))
    assert len(found) == 7
    for sequence, number in zip(found, range(7)):
        drawn = data.drawn("test", number)
        np.testing.assert_array_equal(sequence.inputs[:, 0], drawn.inputs)
        assert not sequence.targets[-1].isnan().any()


@pytest.mark.parametrize("clip_value, clip_norm", [(None, None), (0.1, None), (None, 0.3), (0.1, 0.3)])
def test_clipping_is_that_of_training(clip_value, clip_norm):
    network = network_of("gru", Reals(2), Reals(1), 3)
    batch = asked_at_the_end(network)
    before, after, angle = clipped(network, batch, 2.0, clip_value, clip_norm)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    loss, _ = network.loss(batch, network.start(1))
    (loss / 2).backward()
    raw = torch.cat([parameter.grad.flatten() for parameter in parameters])
    learning = GradientLearning.__new__(GradientLearning)
    torch.nn.Module.__init__(learning)
    learning.clip_value, learning.clip_norm = clip_value, clip_norm
    learning.learned, learning.flat = parameters, None
    learning._clip()
    ours = torch.cat([parameter.grad.flatten() for parameter in parameters])
    assert (before, after) == (pytest.approx(raw.norm().item()), pytest.approx(ours.norm().item()))
    degrees = math.degrees(math.acos(min(1.0, (raw @ ours / raw.norm() / ours.norm()).item())))
    assert angle == pytest.approx(degrees, abs=1e-5)
    assert (angle > 1) == (clip_value is not None)  # by norm alone, the direction stays


def test_a_run_is_measured_and_shown_without_torch():
    probe, data = GradientFlow(**SETTINGS), Latch(seed=0, episodes=10, held=20)
    network = network_of("lstm", Symbols(4), Symbols(2), 3)
    network.stack.engine = "fused"
    assert probe.fits(network.float(), data)
    by_passes = network_of("rnn", Symbols(4), Symbols(2), 3)
    by_passes.learned_by = ("em",)
    assert not probe.fits(by_passes, data)
    found = probe.measure(network, data, 0)
    assert network.dtype == torch.float32 and network.stack.engine == "fused"  # it is as it was
    assert found["norms"][0] == 1 and 1 <= found["reach"] <= len(found["norms"]) <= data.longest
    assert found["singular"]["lags"] == list(range(1, len(found["norms"])))
    assert all(after <= 0.0101 for _, after, _ in found["clipping"])
    narrow = GradientFlow(**SETTINGS | {"most_state": 5}).measure(network, data, 0)
    assert narrow["singular"]["lags"] == [] and narrow["norms"] == found["norms"]

    rows = [{"name": "lstm 1x3", "study": "s", "runs": [{"seed": 4, "found": found}]}]
    rows.append({"name": "<taps>", "study": "s", "runs": [{"seed": 4, "found": {**found, "reach": None}}]})
    code = """
import json, sys
from pipeline.probes.gradient_flow import GradientFlow
import pipeline.probes.memory_cell
print(json.dumps([list(one) for one in GradientFlow(**json.loads(sys.argv[1])).show(json.loads(sys.argv[2]))]))
sys.exit("torch" in sys.modules)
"""
    arguments = [sys.executable, "-c", code, json.dumps(SETTINGS), json.dumps(rows)]
    done = subprocess.run(arguments, cwd=CONF.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = {title: html for title, _, html, _ in json.loads(done.stdout)}
    assert list(shown) == [
        "A gradient through rectifiers",
        "Forward squashes, backward is linear",
        "How far the gradient reaches",
        "The product of Jacobians",
        "Clipping",
    ]
    assert "eigenvalue 0.5" in shown["A gradient through rectifiers"] and "<taps>" not in "".join(shown.values())
    assert "<td>100%</td>" in shown["Clipping"]


def test_a_model_that_is_given_something_has_a_reach_too():
    data = Shift(seed=0, episodes=10, held=20)
    network = RecurrentNetwork(data.reads, data.answers, data.given, GRU, 1, 3, None, 0.0, False, 0.0, False)
    assert GradientFlow(**SETTINGS).measure(network, data, 0)["reach"] >= 1


def test_lags_are_spread_over_all():
    assert spaced(5) == [1, 2, 3, 4, 5] and len(spaced(500)) == 24 and spaced(500)[-1] == 500
