import json
import math

import numpy as np
import pytest
import torch

from pipeline.cells.vanilla_lstm import NoPeepholes
from pipeline.datasets.latch import Latch as OfNumbers
from pipeline.datasets.space import Symbols
from pipeline.probes.memory_cell import BY_HAND, INPUT, MemoryCell, circuit, correlations
from pipeline.recurrence.engines import memory_cells, run
from tests.cells.test_cells import dense, make, state_of
from tests.datasets.problems import Latch
from tests.probes.test_held_out import text_of
from tests.recurrence.networks import network_of

CANDIDATE = {"lstm": 2, "lstm_forget_bias": 2}  # where its rows stand; else at the end
CELLS = ["lstm", "lstm_forget_bias", "lstm_peephole", "lstm_nig", "lstm_nfg", "lstm_nog", "lstm_noaf", "lstm_cifg"]
CELLS += ["lstm_np", "lstm_fgr", "mlstm"]


def test_the_lectures_circuit_holds_what_was_written_until_it_is_read():
    contents, outputs = circuit(INPUT, **BY_HAND)
    assert contents == [0, 0] + [1.7] * 8 + [0, 0] and outputs == [0] * 7 + [1.7] + [0] * 4


def test_the_gradient_through_logistic_gates_is_what_calculus_says():
    """y_T = r_T k_T .. k_1 w_0 x_0 with w = s(a): dy/da = y (1 - s(a)) for each gate in the product."""
    generator = torch.Generator().manual_seed(0)
    x = [torch.tensor(1.7), *torch.zeros(4)]
    logits = {gate: torch.randn(5, generator=generator).requires_grad_() for gate in ("write", "keep", "read")}
    _, outputs = circuit(x, **{gate: torch.sigmoid(a) for gate, a in logits.items()})
    outputs[-1].backward()
    y = outputs[-1].item()
    in_the_product = {"write": [0], "keep": [1, 2, 3, 4], "read": [4]}
    for gate, a in logits.items():
        used = torch.zeros(5).index_fill(0, torch.tensor(in_the_product[gate]), 1.0)
        torch.testing.assert_close(a.grad, y * (1 - torch.sigmoid(a.detach())) * used)
    assert y == pytest.approx(
        1.7 * math.prod(torch.sigmoid(logits[g][t]).item() for g, steps in in_the_product.items() for t in steps),
        rel=1e-5,
    )


@pytest.mark.parametrize("name", CELLS)
def test_gates_say_what_is_written_kept_and_read(name):
    """With the candidate at 1: c_t = f c_{t-1} + i, h_t = o tanh(c_t); a gate that is not there is 1."""
    cell, x = make(name, 5), dense(5)
    with torch.no_grad():
        rows = CANDIDATE.get(name, len(cell.input_bias) // cell.hidden - 1) * cell.hidden
        cell.input_bias[rows : rows + cell.hidden] = 200.0
        state = state_of(cell)
        found = memory_cells(cell, x, state)
        outputs, _ = run(cell, x, state, "reference")
    i, f, o = (found.get(gate, torch.ones(())) for gate in "ifo")
    before = torch.cat([state[1][None], found["c"][:-1]])
    torch.testing.assert_close(found["c"], f * before + i)
    torch.testing.assert_close(outputs, o * (found["c"] if name == "lstm_noaf" else torch.tanh(found["c"])))
    assert torch.equal(outputs, found["h"])
    assert set(found) == {"c", "h"} | set("ifo") - (
        {name[-2]} if name in ("lstm_nig", "lstm_nfg", "lstm_nog") else set()
    )


class Linear(NoPeepholes):
    """z = W x_t, h_t = c_t o."""

    input_activation = output_activation = staticmethod(lambda a: a)


def test_a_cell_whose_gates_are_set_by_its_input_is_the_circuit():
    cell = Linear(4, 1).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        # Rows i, f, o, z; the input: a number, and the three gates as 0 or 1.
        cell.input_weight[:3, 1:] = 100 * torch.eye(3)
        cell.input_weight[3, 0], cell.input_bias[:3] = 1.0, -50.0
        x = torch.tensor([INPUT, *BY_HAND.values()], dtype=torch.double).T[:, None]
        found = memory_cells(cell, x, (torch.zeros(1, 1).double(),) * 2)
    contents, outputs = circuit(INPUT, **BY_HAND)
    np.testing.assert_allclose(found["c"].flatten(), contents, atol=1e-12)
    np.testing.assert_allclose(found["h"].flatten(), outputs, atol=1e-12)


def latched():
    """An LSTM in two layers whose first layer's second cell holds the class, and nothing else."""
    network = network_of("lstm", Symbols(4), Symbols(2), 3, layers=2)
    with torch.no_grad():
        for parameter in network.stack.cells.parameters():
            parameter.zero_()
        weight, bias = network.stack.cells[0].input_weight, network.stack.cells[0].input_bias
        weight[1], bias[1] = torch.tensor([30.0, 30.0, -30.0, -30.0]), 0.0  # i, open at a class
        bias[4] = 20.0  # f
        weight[7] = torch.tensor([-9.0, 9.0, 0.0, 0.0])  # g
    return network


def test_the_cell_that_holds_the_answer_is_found_with_its_gates():
    probe, data = MemoryCell(episodes=30), Latch(seed=0, episodes=10, held=40)
    found = json.loads(json.dumps(probe.measure(latched(), data, 0)))
    assert (found["layer"], found["unit"]) == (1, 2)
    assert found["held"] == pytest.approx(1.0) and found["kept"] == pytest.approx(1.0, abs=1e-6)
    for answer, example in enumerate(found["examples"]):
        steps = len(example["content"])
        assert example["answer"] == answer and example["write"] == [1.0] + [0.0] * (steps - 1)
        np.testing.assert_allclose(example["content"], 2 * answer - 1, atol=1e-3)
        assert example["read"] == [0.5] * steps and "input" not in example  # what is read are symbols
    [exhibit] = probe.show([{"name": "lstm & co", "study": "s", "runs": [{"seed": 0, "found": found}]}])
    assert exhibit.title == "Write, keep, read" and "layer 1, cell 2, keep gate 1.000" in exhibit.about
    assert exhibit.html.startswith("<svg") and all(word in exhibit.html for word in ("set by hand", "lstm &amp; co"))


def test_networks_with_memory_cells_are_measured_where_sequences_end():
    probe, data = MemoryCell(episodes=5), Latch(seed=0, episodes=10, held=10)
    assert probe.fits(latched(), data) and not probe.fits(network_of("gru", Symbols(4), Symbols(2), 2), data)
    text = text_of(np.arange(200).astype(np.uint8) % 4)
    assert not probe.fits(network_of("lstm", text.reads, text.answers, 2), text)


def test_a_number_that_is_read_is_shown_beside_what_becomes_of_it():
    data = OfNumbers(lag=5, informative=1, variance=0.2, seed=0, episodes=10, held=10)
    found = MemoryCell(episodes=10).measure(network_of("lstm", data.reads, data.answers, 2).float(), data, 0)
    assert [one["input"][0] for one in found["examples"]] == [-1, 1]  # at first the class
    assert all(len(one["input"]) == len(one["content"]) for one in found["examples"])


def test_correlations_are_pearsons():
    rng = np.random.default_rng(0)
    contents, answers = rng.normal(size=(20, 2, 3)), rng.normal(size=20).tolist()
    contents[:, 0, 0] = 4.0
    expected = [np.corrcoef(contents[:, k // 3, k % 3], answers)[0, 1] for k in range(1, 6)]
    np.testing.assert_allclose(correlations(contents, answers).flatten(), [0.0, *expected], atol=1e-12)
