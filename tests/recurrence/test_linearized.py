"""Products with the Jacobian of a recurrence and its transpose, beside forward and reverse differentiation of the plain
loop."""

import pytest
import torch
from torch.func import functional_call

from pipeline.cells import gru, lstm, mrnn, mut, rnn, vanilla_lstm
from pipeline.datasets.space import Symbols
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.recurrence.stack import linearizing
from tests.conftest import needs_steps

T, B, V, H = 4, 3, 5, 3
# Enough to have each operator and each kind of product, of state and of constants.
CELLS = [
    rnn.TanhRNN, rnn.ReluRNN, lstm.LSTM, gru.GRU, gru.ResetAfterGRU, mut.MUT1, mut.MUT2,
    mrnn.MultiplicativeRNN, mrnn.FullMultiplicativeRNN, vanilla_lstm.VanillaLSTM, vanilla_lstm.FullGateRecurrence,
]  # fmt: skip
BY_TWO = [(cell, "deferred") for cell in (gru.GRU, mrnn.FullMultiplicativeRNN)]


class Seen(torch.nn.Module):
    """What is observed of a network as a function of its parameters."""

    def __init__(self, network, x):
        super().__init__()
        self.network, self.x = network, x

    def forward(self):
        z, hidden, _ = self.network.observe(self.x, self.network.start(self.x.shape[1]))
        return z, *hidden


@pytest.mark.parametrize("cell, engine", [pytest.param(cell, "fused", marks=needs_steps) for cell in CELLS] + BY_TWO)
def test_products_with_the_jacobian_are_those_of_the_plain_loop(cell, engine):
    torch.manual_seed(0)
    network = RecurrentNetwork(
        Symbols(V), Symbols(3), (), cell, 2, H, None, 0.0, True, 0.0, learned_initial_state=True
    ).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.6)
    seen = Seen(network, torch.randint(0, V + 1, (T, B)))
    named = dict(seen.named_parameters())
    v = [torch.randn_like(parameter) for parameter in named.values()]

    network.stack.engine = "reference"
    outputs, tangents = torch.autograd.functional.jvp(
        lambda *values: functional_call(seen, dict(zip(named, values)), ()), tuple(named.values()), tuple(v)
    )
    u = [torch.randn_like(part) for part in outputs]
    gradients = torch.autograd.grad(seen(), list(named.values()), u)

    network.stack.engine = engine
    with linearizing(network):
        found = seen()
    changes = [torch.zeros_like(part, requires_grad=True) for part in found]
    transposed = torch.autograd.grad(found, list(named.values()), changes, create_graph=True)
    for _ in range(2):  # the same linearization serves again and again
        ours = torch.autograd.grad(found, list(named.values()), u, retain_graph=True)
        torch.testing.assert_close(ours, gradients, rtol=1e-9, atol=1e-11)
        ours = torch.autograd.grad(transposed, changes, v, retain_graph=True)
        torch.testing.assert_close(ours, tangents, rtol=1e-9, atol=1e-11)
