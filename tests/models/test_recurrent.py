import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch.nn import functional as F

from pipeline.command.settings import CONF
from pipeline.datasets.space import Symbols
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.recurrence import native
from pipeline.recurrence.stepping import Line
from tests.conftest import composed, needs_steps
from tests.oracles import cells as oracle

NAMES = sorted(file.stem for file in (CONF / "model").glob("*.yaml") if "base/recurrent" in file.read_text())


def network(
    name="lstm",
    symbols=5,
    layers=2,
    hidden=4,
    embedding=None,
    dropout=0.0,
    skip=False,
    initial_state=0.0,
    learned=False,
    **cell,
):
    torch.manual_seed(0)
    make = instantiate(composed(f"model={name}").model.cell, **cell)
    return RecurrentNetwork(
        Symbols(symbols),
        Symbols(symbols),
        (),
        cell=make,
        layers=layers,
        hidden=hidden,
        embedding=embedding,
        dropout=dropout,
        skip_connections=skip,
        initial_state=initial_state,
        learned_initial_state=learned,
    ).double()


def test_char_rnns_lstm_has_240321_parameters():
    assert network("lstm", symbols=65, layers=2, hidden=128, recurrent_bias=True).count_parameters() == 240_321


@pytest.mark.parametrize(
    "layers, hidden, embedding, skip, learned",
    [(1, 3, None, False, False), (3, 4, None, True, True), (2, 4, 6, False, True)],
)
def test_parameter_count(layers, hidden, embedding, skip, learned):
    V = 7
    widths = [embedding or V] + [hidden] * (layers - 1)
    expected = sum(4 * hidden * (width + hidden + 1) for width in widths) + 2 * hidden * layers * learned
    expected += V * (hidden * (layers if skip else 1) + 1) + V * (embedding or 0)
    assert network("lstm", V, layers, hidden, embedding, skip=skip, learned=learned).count_parameters() == expected


@pytest.mark.parametrize("name", ["rnn", "lstm_fgr", "gru", "mut1", "mrnn_full", "mlstm"])
@pytest.mark.parametrize("embedding, skip, initial_state", [(None, False, 0.0), (3, False, 0.0), (None, True, 0.25)])
def test_logits_and_state_are_those_of_the_equations(name, embedding, skip, initial_state):
    V, L = 5, 2
    net = network(name, V, L, embedding=embedding, skip=skip, initial_state=initial_state)
    symbols = torch.tensor([[0, 4], [2, 2], [V, 1], [3, 0]])  # V: unknown
    logits, state = net(symbols, net.start(2))
    w, b = net.readout.weight.detach().numpy(), net.readout.bias.detach().numpy()
    for s in range(2):
        if embedding is None:
            x = F.one_hot(symbols[:, s], V + 1)[:, :V].double().numpy()
        else:
            x = np.stack(
                [
                    net.embedding.weight[k].detach().numpy() if k < V else np.zeros(embedding)
                    for k in symbols[:, s].tolist()
                ]
            )
        layers, ends = [], []
        for cell in net.stack.cells:
            parameters = {key: value.detach().numpy() for key, value in cell.named_parameters()}
            x, end = oracle.run(
                name, parameters, x, tuple(np.full(width, initial_state) for width in cell.state.values())
            )
            layers.append(x)
            ends.append(end)
        seen = np.concatenate(layers, axis=1) if skip else x
        np.testing.assert_allclose(logits[:, s].detach(), seen @ w.T + b, rtol=1e-11, atol=1e-12)
        for part, expected in zip(state, zip(*ends), strict=True):
            np.testing.assert_allclose(part[:, s].detach(), np.stack(expected), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_steps), False])
def test_stepping_reads_what_the_whole_network_reads(name, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(native, "library", lambda: None)
    for options in ({}, {"embedding": 3, "skip": True}, {"initial_state": 0.3}):
        net = network(name, **options).eval()
        symbols = torch.tensor([3, 5, 0, 1, 1, 4])  # 5: unknown
        with torch.no_grad():
            logits, _ = net(symbols[:, None], net.start(1))
            step, other = net.stepper(net.start(1)), net.stepper(net.start(1))
            assert isinstance(step.line, Line) == (not compiled or name == "mrnn_full")
            other(2)  # whose state is its own
            torch.testing.assert_close(
                torch.stack([step(symbol) for symbol in symbols.tolist()]), logits[:, 0], rtol=1e-11, atol=1e-12
            )


def test_learned_initial_states_start_at_their_constant_and_learn():
    net = network("lstm", initial_state=0.5, learned=True)
    assert all(torch.equal(part, torch.full((2, 3, 4), 0.5, dtype=torch.double)) for part in net.start(3))
    logits, _ = net(torch.randint(0, 5, (6, 3)), net.start(3))
    logits.square().sum().backward()
    assert all(part.grad.abs().min() > 0 for part in net.stack.initial)
    fixed = network("lstm", initial_state=0.5)
    assert not any(part.requires_grad for part in fixed.start(3))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "mut2"])
def test_chunked_equals_whole(name):
    net = network(name)
    symbols = torch.randint(0, 5, (9, 3))
    whole, end = net(symbols, net.start(3))
    first, state = net(symbols[:4], net.start(3))
    second, state = net(symbols[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    for part, expected in zip(state, end, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-12)


def test_dropout_acts_in_training_only_and_never_on_the_recurrence():
    net = network("rnn", dropout=0.5)
    symbols = torch.randint(0, 5, (6, 3))
    drawn = [net(symbols, net.start(3)) for _ in range(2)]
    assert not torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1][0][0], drawn[1][1][0][0]) and not torch.equal(drawn[0][1][0][1], drawn[1][1][0][1])
    net.eval()
    assert torch.equal(*(net(symbols, net.start(3))[0] for _ in range(2)))
