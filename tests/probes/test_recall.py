"""Recall of corrupted patterns, of a network that recalls what is near enough."""

import json

import pytest
import torch

from pipeline.datasets.attractors import Attractors
from pipeline.datasets.hello import Hello
from pipeline.models.model import SequenceModel
from pipeline.probes.recall import Recall, by_load, nearest

P, N = 4, 40


class Near(SequenceModel):
    """The first stored pattern where it is the nearest to what is given, another where it is within 10 bits; else what
    is given. Only at the end."""

    def __init__(self, data):
        super().__init__(data.reads, data.answers, data.given)
        self.stored, self.nothing = 2.0 * torch.from_numpy(data.stored) - 1, torch.nn.Parameter(torch.zeros(1))

    def start(self, batch, given):
        return (given[None],)

    def forward(self, x, state):
        [given] = state[0]
        turned = (given[:, None] != self.stored).sum(-1)
        near = (turned.amin(1) <= 10) | (turned.argmin(1) == 0)
        z = torch.where(near[:, None], self.stored[turned.argmin(1)].to(given), given)
        return torch.cat([-z.expand(len(x) - 1, -1, -1), z[None]]), state


def test_shares_of_bits_and_of_whole_patterns_by_corruption():
    data = Attractors(P, N, 0.1, 3, 2, seed=0, episodes=10, held=10)
    distances = (data.stored[:, None] != data.stored).sum(-1)
    assert distances[distances > 0].min() > 14
    probe = Recall([0.0, 0.15, 0.35], 60)
    found = probe.measure(Near(data), data, 0)
    assert list(probe.measures) == ["recalled_0", "recalled_15", "recalled_35"]
    assert [found["patterns"], found["units"], found["trained"]] == [P, N, 0.1]
    assert found["recalled_0"] == found["recalled_15"] == 1 and found["bits"][:2] == [1, 1]
    wrong = []
    for batch in data.corrupted(0.35, 60).held_out("test"):
        z, _ = Near(data)(batch.inputs, (batch.given[0][None],))
        wrong += ((z[-1] > 0) != (batch.targets[-1] > 0)).sum(1).tolist()
    assert len(wrong) == 60 and 0 in wrong and 14 in wrong
    assert found["recalled_35"] == wrong.count(0) / 60 and found["bits"][2] == pytest.approx(1 - sum(wrong) / (60 * N))
    assert probe.fits(Near(data), data) and not probe.fits(None, Hello())


def row(model: str, patterns: int, shares: list[list[float]]) -> dict:
    runs = [
        {"found": {"recalled_0": one, "recalled_20": other, "patterns": patterns, "units": 100, "trained": 0.1}}
        for one, other in shares
    ]
    data = f"attractors patterns={patterns}"
    return {"label": f"{data} {model}", "data": data, "model": model, "study": "attractors", "runs": runs}


ROWS = [
    row("hopfield", 5, [[1.0, 0.8]]),
    row("hopfield", 25, [[0.2, 0.0]]),
    row("rnn", 5, [[1.0, 0.5], [0.5, 0.3]]),
]


def test_a_panel_for_each_number_of_patterns_and_lines_through_the_means():
    whole = Recall([0.0, 0.2], 1).by_corruption(ROWS)
    assert [axes.get_title() for axes in whole.axes] == ["5 patterns", "25 patterns"]
    found = [sorted(tuple(line.get_ydata()) for line in axes.lines if line.get_marker() in "os") for axes in whole.axes]
    assert found == [[(0.75, 0.4), (1.0, 0.8)], [(0.2, 0.0)]]


def test_by_the_patterns_for_each_unit():
    [axes] = by_load(ROWS, "recalled_20").axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert {name: list(zip(*line.get_data())) for name, line in lines.items()} == {
        "hopfield": [(0.05, 0.8), (0.25, 0.0)],
        "rnn": [(0.05, 0.4)],
    }
    assert nearest([0.0, 0.2], 0.1) == 0.0
    titles = [exhibit.title for exhibit in Recall([0.0, 0.2], 1).show(json.loads(json.dumps(ROWS)))]
    assert titles == ["Recall by corruption", "Recall by the number of patterns"]
    assert len(Recall([0.0, 0.2], 1).show(ROWS[::2])) == 1
