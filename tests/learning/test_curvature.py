"""Gauss-Newton and structural products beside the matrices themselves, made entry by entry from their definitions."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

from pipeline.cells.gru import GRU
from pipeline.cells.lstm import LSTM
from pipeline.cells.mrnn import MultiplicativeRNN
from pipeline.cells.rnn import TanhRNN
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Bits, Reals, Symbols
from pipeline.learning.curvature import Curvature
from pipeline.models.delay_taps import DelayTaps
from pipeline.models.feedforward_lm import FeedforwardLM
from pipeline.models.recurrent import RecurrentNetwork

T, B, V = 4, 3, 5
MODELS = {
    "rnn": lambda answers: recurrent(TanhRNN, answers, hidden=3),
    "lstm": lambda answers: recurrent(LSTM, answers, hidden=2, layers=2),
    "gru": lambda answers: recurrent(GRU, answers, hidden=2, embedding=2),
    "mrnn": lambda answers: recurrent(MultiplicativeRNN, answers, hidden=2, skip_connections=True, layers=2),
    "delay_taps": lambda answers: DelayTaps(Symbols(V), answers, (), taps=2),
    "feedforward_lm": lambda answers: FeedforwardLM(Symbols(V), answers, (), 2, 2, 2, True),
}
ANSWERS = {"symbols": Symbols(3), "numbers": Reals(2), "bits": Bits(2)}


def recurrent(cell, answers, hidden, layers=1, embedding=None, skip_connections=False):
    return RecurrentNetwork(
        Symbols(V), answers, (), cell, layers, hidden, embedding, 0.0, skip_connections, 0.1, learned_initial_state=True
    )


def drawn(model: str, answers) -> tuple[torch.nn.Module, Batch]:
    """A network, and a batch in which about a third of the numbers is not asked."""
    torch.manual_seed(3)
    network = MODELS[model](answers).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.6)
    if isinstance(answers, Symbols):
        targets = torch.randint(0, answers.count + 1, (T, B))
    else:
        targets = torch.randint(0, 2, (T, B, answers.width)).double()
        targets[torch.rand(targets.shape) < 0.3] = torch.nan
    return network, Batch(torch.randint(0, V + 1, (T, B)), targets, int(answers.entries(targets).sum()))


class Seen(torch.nn.Module):
    def __init__(self, network, batch, hidden):
        super().__init__()
        self.network, self.batch, self.hidden = network, batch, hidden

    def forward(self):
        state = self.network.start(B)
        if not self.hidden:
            return (self.network(self.batch.inputs, state)[0],)
        return self.network(self.batch.inputs, state)[0], *self.network.activities(self.batch.inputs, state)[0]


def jacobians(network, batch: Batch, hidden: bool) -> list[np.ndarray]:
    """Of the predictions, and of each layer's units, [T, B, width, N], by the plain loop."""
    for module in network.modules():
        if hasattr(module, "engine"):
            module.engine = "reference"
    seen = Seen(network, batch, hidden)
    named = {name: part for name, part in seen.named_parameters() if part.requires_grad}
    found = torch.autograd.functional.jacobian(
        lambda *values: functional_call(seen, dict(zip(named, values)), ()), tuple(named.values())
    )
    return [torch.cat([part.flatten(3) for part in parts], dim=3).numpy() for parts in found]


def hessian(answers, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the loss of one step in its prediction z [O], by the second derivatives of the formulas in Space."""
    if isinstance(answers, Symbols):
        p = np.exp(z) / np.exp(z).sum()
        return (np.diag(p) - np.outer(p, p)) * (y != answers.count)
    s = 1 / (1 + np.exp(-z))
    return np.diag(np.where(np.isnan(y), 0.0, 2.0 if isinstance(answers, Reals) else s * (1 - s)))


def explicit(network, batch: Batch, hidden: bool) -> tuple[np.ndarray, np.ndarray]:
    """G and S [N, N]."""
    J, *K = jacobians(network, batch, hidden)
    with torch.no_grad():
        z = network(batch.inputs, network.start(B))[0].numpy()
    places = [(t, b) for t in range(T) for b in range(B)]
    G = sum(J[at].T @ hessian(network.answers, z[at], batch.targets.numpy()[at]) @ J[at] for at in places)
    return G, sum((layer[at].T @ layer[at] for layer in K for at in places), np.zeros_like(G))


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("model", MODELS)
def test_products_are_those_of_the_explicit_matrices(model, answers):
    network, batch = drawn(model, ANSWERS[answers])
    hidden = model not in ("delay_taps", "feedforward_lm")
    for module in network.modules():
        if hasattr(module, "engine"):
            module.engine = "deferred"
    curvature = Curvature(network, batch, None, structural=hidden)
    basis = torch.eye(sum(part.numel() for part in network.parameters() if part.requires_grad), dtype=torch.float64)
    mu = 0.3 if hidden else 0.0
    ours = np.stack([curvature.times(v, mu).numpy() for v in basis])
    G, S = explicit(network, batch, hidden)
    np.testing.assert_allclose(ours, G + mu * S, rtol=1e-9, atol=1e-10)
    assert np.abs(G).max() > 1e-3 and np.allclose(ours, ours.T, atol=1e-10)


def test_signed_gradients_are_sums_over_every_sequence_by_itself():
    network, batch = drawn("gru", Symbols(3))
    parameters = [part for part in network.parameters() if part.requires_grad]
    signs, expected = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64), 0
    for b in range(B):
        found = torch.autograd.grad(network.loss(batch.sequences(torch.tensor([b])), network.start(1))[0], parameters)
        expected = expected + signs[b] * torch.cat([part.flatten() for part in found])
    torch.testing.assert_close(Curvature(network, batch, None, structural=False).signed_gradient(signs), expected)
