"""Encoder-decoders against equations written out for one sequence at a time, without padding."""

import numpy as np
import pytest
import torch

from pipeline.cells.gru import GRU
from pipeline.cells.lstm import LSTM
from pipeline.cells.mut import MUT1
from pipeline.cells.vanilla_lstm import FullGateRecurrence
from pipeline.datasets.batch import Batch
from pipeline.datasets.ragged import Sequences
from pipeline.datasets.space import Reals, Symbols
from pipeline.models.encoder_decoder import EncoderDecoder
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.recurrence.holding import Holding
from pipeline.recurrence.stack import Stack

LETTERS, PHONES, EMBEDDED, HIDDEN = 5, 4, 3, 6
SOURCES = [[0, 3, 1, 4], [2], [], [4, 4, 0]]  # of unlike lengths; one has ended before it began
KINDS = [(s, o, cell) for s in ("state", "every_step") for o in ("reversed", "forward", "both") for cell in (LSTM, GRU)]


def network_of(summary: str, source: str, cell=LSTM, layers: int = 2, seed: int = 0) -> EncoderDecoder:
    torch.manual_seed(seed)
    spaces = Symbols(PHONES, "phone"), Symbols(PHONES, "phone"), (Symbols(LETTERS, "letter"),)
    network = EncoderDecoder(*spaces, cell, layers, HIDDEN, EMBEDDED, 0.0, summary, source).double()
    network.run_on("cpu", "reference")
    return network


def side_by_side(sources=SOURCES, more: int = 0) -> torch.Tensor:
    given = torch.full((len(sources), max(map(len, sources)) + more), LETTERS)
    for row, source in zip(given, sources):
        row[: len(source)] = torch.tensor(source, dtype=torch.long)
    return given


def asked(seed: int = 1, steps: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(PHONES, (steps, len(SOURCES)), generator=draw) for _ in range(2))


def arrays(network) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def step(w: dict, at: str, x, state: list) -> list:
    """One step of an LSTM or a GRU whose parameters are called at + ..."""
    W, b, h = w[f"{at}.input_weight"], w[f"{at}.input_bias"], state[0]
    if len(state) == 2:
        i, f, g, o = np.split(W @ x + b + w[f"{at}.recurrent.gates"] @ h, 4)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    gates, candidate = np.split(W @ x + b, [2 * HIDDEN])
    r, z = np.split(sigmoid(gates + w[f"{at}.recurrent.gates"] @ h), 2)
    return [z * h + (1 - z) * np.tanh(candidate + w[f"{at}.recurrent.candidate"] @ (r * h))]


def through(w: dict, at: str, x, states: list[list]) -> list[list]:
    """x through two layers -> their states."""
    found = []
    for layer, state in enumerate(states):
        found.append(step(w, at.format(layer), x, state))
        x = found[-1][0]
    return found


def expected(w: dict, parts: int, summary: str, order: str, source: list[int], reads: list[int]) -> np.ndarray:
    """Predictions [T, O] for one source."""

    def zero() -> list[list]:
        return [[np.zeros(HIDDEN)] * parts for _ in range(2)]

    ends = []
    for number, symbols in enumerate({"both": (source, source[::-1])}.get(order) or [source]):
        states = zero()
        for symbol in symbols[::-1] if order == "reversed" else symbols:
            states = through(w, f"encoders.{number}.cells.{{}}.cell", w["of_source.weight"][symbol], states)
        ends.append(states)
    states = ends[0]
    if order == "both":
        states = [
            [w[f"joined.{k}.{layer}.weight"] @ np.concatenate([e[layer][k] for e in ends]) for k in range(parts)]
            for layer in range(2)
        ]
    c = np.zeros(0)
    if summary == "every_step":
        c, states = np.tanh(w["summarize.weight"] @ states[-1][0]), zero()
        for layer, h in enumerate(np.split(np.tanh(w["begin.weight"] @ c), 2)):
            states[layer][0] = h
    found = []
    for symbol in reads:
        y = w["embedding.weight"][symbol]
        states = through(w, "decoder.cells.{}", np.concatenate([y, c]), states)
        seen = [states[-1][0], y, c] if len(c) else [states[-1][0]]
        found.append(w["readout.weight"] @ np.concatenate(seen) + w["readout.bias"])
    return np.stack(found)


@pytest.mark.parametrize("summary, order, cell", KINDS)
def test_predictions_are_those_of_the_equations(summary, order, cell):
    network, (x, _) = network_of(summary, order, cell), asked()
    z, after = network(x, network.start(len(SOURCES), side_by_side()))
    parts = 2 if cell is LSTM else 1
    for b, source in enumerate(SOURCES):
        z_b = expected(arrays(network), parts, summary, order, source, x[:, b].tolist())
        np.testing.assert_allclose(z[:, b].detach(), z_b, rtol=0, atol=1e-12)
    assert len(after) == parts + (summary == "every_step")


@pytest.mark.parametrize("summary, order", [("state", "both"), ("every_step", "reversed")])
def test_gradients_are_those_of_differences(summary, order):
    network, batch = network_of(summary, order), Batch(*asked(), 20)
    given, draw = side_by_side(), np.random.default_rng(0)

    def loss():
        return network.loss(batch, network.start(len(SOURCES), given))[0]

    loss().backward()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        way = torch.from_numpy(draw.normal(size=parameter.shape))
        with torch.no_grad():
            parameter += 1e-6 * way
            above = loss()
            parameter -= 2e-6 * way
            below = loss()
            parameter += 1e-6 * way
        along = (parameter.grad * way).sum().item()
        assert along == pytest.approx((above - below).item() / 2e-6, rel=1e-5, abs=1e-7), name
        assert along != 0, name


@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_what_fills_a_source_up_changes_nothing_at_all(engine):
    batch, found = Batch(*asked(), 20), []
    for more in (0, 7):
        network = network_of("every_step", "reversed", layers=1)
        network.run_on("cpu", engine)
        loss, _ = network.loss(batch, network.start(len(SOURCES), side_by_side(more=more)))
        loss.backward()
        found.append([loss, *(one.grad for one in network.parameters() if one.requires_grad)])
    assert all(torch.equal(one, other) for one, other in zip(*found))


@pytest.mark.parametrize("cell", [LSTM, GRU, MUT1, FullGateRecurrence])
def test_a_cell_that_holds_ends_where_it_ends_alone(cell):
    torch.manual_seed(0)
    holding = Stack(lambda *widths: Holding(cell(*widths)), 3, 1, HIDDEN).double()
    holding.run_on("cpu", "fused")
    x, lengths = torch.randn(7, 4, 3, dtype=torch.float64), torch.tensor([7, 3, 0, 5])
    *state, left = holding.start(4)
    before = (*state, lengths[:, None].expand(left.shape).double())
    _, (*ends, after) = holding(x, before)
    step_by_step = tuple(part[0] for part in before)
    for x_t in x:
        step_by_step = holding.cells[0](x_t, step_by_step)
    for part, wanted in zip(step_by_step, (*ends, after), strict=True):
        torch.testing.assert_close(part, wanted[0], rtol=0, atol=1e-12)
    assert torch.equal(after[0, :, 0], lengths - 7.0)
    for cell_of in holding.cells:  # as they are without
        assert cell_of.input_weight is cell_of.cell.input_weight
    for b, length in enumerate(lengths.tolist()):
        alone = Stack(cell, 3, 1, HIDDEN).double()
        alone.run_on("cpu", "reference")
        alone.cells.load_state_dict(torch.nn.ModuleList(one.cell for one in holding.cells).state_dict())
        state = alone.start(1)
        if length:
            _, state = alone(x[:length, b : b + 1], state)
        for part, of_all in zip(state, ends, strict=True):
            torch.testing.assert_close(of_all[:, b], part[:, 0], rtol=0, atol=1e-12)


def test_some_sequences_of_a_batch_are_kept_by_their_state():
    network, (x, _) = network_of("every_step", "forward"), asked()
    state, kept = network.start(len(SOURCES), side_by_side()), torch.tensor([3, 0, 0])
    z, _ = network(x[:, kept], tuple(part[:, kept] for part in state))
    torch.testing.assert_close(z, network(x, state)[0][:, kept])


def test_a_model_is_refused_data_without_a_source_and_the_other_way_round():
    symbols = Symbols(3)
    given = {(): None, (symbols,): [0, 1], (Reals(1),): [0.0]}
    every = {
        spaces: Sequences("a", symbols, symbols, {"train": [([0], [1], *([one] if one else []))]}, 0, given=spaces)
        for spaces, one in given.items()
    }
    assert EncoderDecoder.fits(every[symbols,]) is None
    for spaces in ((), (Reals(1),)):
        assert "take data=pronunciation or verses" in EncoderDecoder.fits(every[spaces])
    assert "model=encoder_decoder" in RecurrentNetwork.fits(every[symbols,])
