import itertools
import json
import math

import numpy as np
import pytest
import torch

from pipeline.datasets.copying import Copying
from pipeline.models.model import SequenceModel
from pipeline.probes.memory import Memory, carried_bits, figure, needed_figure, sizes_needed


class Predictor(SequenceModel):
    """A model that gives the next symbol of an episode the probability predictor(episode so far, symbol)."""

    device = torch.device("cpu")

    def __init__(self, data, predictor):
        super().__init__(data.reads, data.answers)
        self.vocabulary, self.predictor = data.vocabulary, predictor

    def start(self, batch):
        return (torch.zeros(batch, 1),)

    def forward(self, x, state):
        symbols = [self.vocabulary.decode(np.array([index])) for index in range(len(self.vocabulary))]
        p = torch.zeros(*x.shape, len(symbols), dtype=torch.float64)
        for t, b in itertools.product(*map(range, x.shape)):
            seen = self.vocabulary.decode(x[: t + 1, b].numpy()).rpartition("\n")[2]
            p[t, b] = torch.tensor([self.predictor(seen, symbol) for symbol in symbols])
        return torch.log(p), state


def copying(**changes):
    """A problem and its data, whose test part is one episode to begin with and then every message once."""
    problem = Copying(
        **{"message": 3, "delay": 2, "alphabet": 2, "episodes": 100, "seed": 0, "split": "80-10-10"} | changes
    )
    data = problem.open()
    digits = "0123456789"[: problem.alphabet]
    messages = ["".join(message) for message in itertools.product(digits, repeat=problem.message)]
    text = "".join(f"{message}{'.' * problem.delay}?{message}\n" for message in [messages[0], *messages])
    data.parts = {**data.parts, "test": data.vocabulary.encode(text)}
    return messages, data


@pytest.mark.parametrize("alphabet", [2, 3])
@pytest.mark.parametrize("remembered", [0, 1, 3])
def test_bits_carried_are_those_that_a_predictor_remembers(alphabet, remembered):
    """One that remembers the first j of k symbols, which takes A^j states, carries j log2 A bits."""
    _, data = copying(alphabet=alphabet)

    def predictor(seen, symbol):
        message, mark, recalled = seen.partition("?")
        if not mark:
            return 1e-3  # what is not to be recalled does not count
        return float(message[len(recalled)] == symbol) if len(recalled) < remembered else symbol.isdigit() / alphabet

    assert carried_bits(Predictor(data, predictor), data) == pytest.approx(remembered * math.log2(alphabet))


def test_no_code_of_n_states_carries_more_than_log2_n_bits():
    """Codes of 3-bit messages into N states, the best distribution of messages read from each state."""
    messages, data = copying()
    draw = np.random.default_rng(0)
    for states in (1, 2, 3, 5, 8):
        codes = [draw.integers(states, size=len(messages)), np.arange(len(messages)) * states // len(messages)]
        for code in codes:
            state = dict(zip(messages, code, strict=True))

            def predictor(seen, symbol, state=state):
                message, mark, recalled = seen.partition("?")
                if not mark or len(recalled) == 3:
                    return 1e-3
                alike = [one for one in messages if state[one] == state[message[:3]] and one.startswith(recalled)]
                return sum(one.startswith(recalled + symbol) for one in alike) / len(alike)

            carried = carried_bits(Predictor(data, predictor), data)
            sizes = np.bincount(code, minlength=states)
            assert carried == pytest.approx(np.mean([math.log2(8 / sizes[one]) for one in code]))
            assert carried <= math.log2(states) + 1e-12
        if states in (1, 2, 8):
            assert carried == pytest.approx(math.log2(states))


def test_the_probe_measures_bits_beside_those_of_the_message_and_of_the_states():
    _, data = copying()
    network = Predictor(data, lambda seen, symbol: symbol.isdigit() / 2)
    assert Memory().fits(network, data) and not Memory().fits(network, object())
    found = Memory().measure(network, data, seed=0)
    assert found == {"carried": pytest.approx(0), "message": 3, "bound": None}
    network.discrete_states = 8
    assert Memory().measure(network, data, seed=0)["bound"] == 3


def row(name, found, study="memory_bits"):
    runs = [{"seed": seed, "found": one} for seed, one in enumerate(found)]
    model, size = name.split()
    return {"name": name, "model": model, "size": size, "study": study, "runs": runs}


def test_the_figure_has_a_bound_where_a_model_has_one_and_nothing_of_runs_that_were_lost():
    lost = {"carried": float("nan"), "message": 1, "bound": None}
    rows = [
        row("hmm 16", [{"carried": 2.0, "message": 2, "bound": 4.0}, {"carried": 1.0, "message": 2, "bound": 4.0}]),
        row("hmm 16", [{"carried": 1.0, "message": 1, "bound": 4.0}]),
        row("gru 1x4", [{"carried": 1.0, "message": 1, "bound": None}]),
        row("gru 1x8", [lost]),
    ]
    exhibit, _ = Memory().show(json.loads(json.dumps(rows)))
    assert exhibit.title == "Bits carried" and exhibit.html.startswith("<svg") and "gru 1x8" not in exhibit.html
    assert 'aria-label="Bits carried: memory_bits"' in exhibit.html
    assert Memory().show(rows[3:]) == []


def test_the_size_needed_is_the_least_that_carries_nine_tenths_with_any_seed():
    found = [("gru", 16, 4, 3.7), ("gru", 8, 4, 3.5), ("gru", 8, 2, 2.0), ("gru", 4, 2, 0.1), ("gru", 4, 2, 1.8)]
    needed = sizes_needed([*found, ("hmm", 8, 1, 1.0), ("hmm", 16, 4, 3.0)])
    assert needed == {"gru": {2: 4, 4: 16}, "hmm": {1: 8}}
    [axes] = needed_figure(needed, {4, 1, 2}).axes
    lines = {line.get_label(): list(zip(*line.get_data())) for line in axes.lines}
    assert lines["gru"] == [(2, 4), (4, 16)] and [(1, 2), (2, 4), (4, 16)] in lines.values()
    rows = [
        row(f"gru 1x{size}", [{"carried": size / 4, "message": message, "bound": None}])
        for size, message in ((4, 1), (8, 2))
    ]
    assert [exhibit.title for exhibit in Memory().show(rows)] == ["Bits carried", "Size needed"]


def test_carried_bits_join_the_best_seed_of_each_message_below_the_models_bound():
    points = [("hmm 16", 2, 1.0), ("hmm 16", 2, 2.0), ("hmm 16", 1, 1.0), ("hmm 4", 1, -0.5)]
    drawn = figure(points, {"hmm 16": 4.0})
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["all", "hmm 4", "hmm 16"]
    lines = {line.get_label(): line for line in drawn.axes[0].lines}
    assert list(lines["hmm 16"].get_xdata()) == [1, 2] and list(lines["hmm 16"].get_ydata()) == [1, 2]
    assert any(
        list(line.get_ydata()) == [4, 4] and line.get_color() == lines["hmm 16"].get_color()
        for line in drawn.axes[0].lines
    )
