import re
from types import SimpleNamespace

import pytest
import torch

from pipeline.datasets.adding import Adding
from pipeline.models.model import SequenceModel
from pipeline.probes.success import Case, Success, figure, table


class Cheat(SequenceModel):
    """Answers adding right but for every `wrong`th episode of those read side by side."""

    def __init__(self, data, wrong):
        super().__init__(data.reads, data.answers)
        self.wrong, self.nothing = wrong, torch.nn.Parameter(torch.zeros(1))

    def start(self, batch):
        return (torch.zeros(1, batch, 1),)

    def forward(self, x, state):
        mean = (x[..., 0] * x[..., 1]).sum(0) / 2
        mean[:: self.wrong] += 0.05
        return mean.expand(len(x), -1)[..., None], state


@pytest.mark.parametrize("wrong, solved", [(100, 1.0), (50, 0.0)])
def test_solved_is_the_problems_criterion_on_the_test_part(wrong, solved):
    data = Adding(20, "martens", seed=1, episodes=10, held=400)
    found = Success([]).measure(Cheat(data, wrong), data, 0)
    assert found == {"solved": solved, "problem": "adding", "lag": 20, "asked": 1.0}
    assert Success([]).fits(None, data) and not Success([]).fits(None, SimpleNamespace(criterion=None))


def row(way, lag, reached, problem="adding", asked=1.0, diverged=0):
    """A row of the report; `reached`: of each seed (targets, seconds), None where it did not."""
    runs = [
        {
            "found": {"solved": 0.0, "problem": problem, "lag": lag, "asked": asked},
            "reached": one and {"measure": "solved", "value": None, "step": 3, "targets": one[0]},
            "seconds": one and one[1],
        }
        for one in reached
    ]
    seeds = list(range(len(reached) + diverged))
    return {"name": way, "runs": runs, "seeds": seeds, "study": "long_term"}


ROWS = [
    row("lstm", 60, [(9000, 50.0), None, (3000, 20.0)], problem="memory", asked=3.0),
    row("lstm", 30, [(1000, 7.0)], diverged=1),
    row("sgd", 100, [None, None]),
    row("sgd", 30, [None, None]),
]


def test_the_table_has_successes_with_medians_of_sequences_and_seconds():
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", line) for line in table(list(map(Case, ROWS))).splitlines()[1:]]
    assert cells[:4] == [
        ["", "lstm", "sgd"],
        ["adding, T = 30", "1 of 2: 1,000, 7 s", "0 of 2"],
        ["adding, T = 100", "", "0 of 2"],
        ["memory, T = 60", "2 of 3: 2,000, 35 s", ""],
    ]


def test_the_figure_has_a_point_a_seed_and_a_band_for_those_that_failed():
    whole = figure(list(map(Case, ROWS)))
    adding, memory = whole.axes
    assert (adding.get_title(), memory.get_title()) == ("adding", "memory")
    assert [text.get_text() for text in adding.get_xticklabels()] == ["30", "100"]
    found = [sorted(y for line in axes.lines for y in line.get_ydata()) for axes in (adding, memory)]
    band = 4 * 3000
    assert found == [[1000, 1000, band, band, band], [1000, 2000, 3000, band]]


def test_published_results_stand_beside_where_a_study_has_some():
    one = {"problem": "adding", "lag": 100, "way": "LSTM", "result": "74,000 <sequences>", "source": "1997"}
    titles = [exhibit.title for exhibit in Success([one]).show(ROWS)]
    assert titles == ["Solved", "Sequences until solved", "Published"]
    assert "74,000 &lt;sequences&gt;" in Success([one]).show(ROWS)[-1].html and len(Success([]).show(ROWS)) == 2
