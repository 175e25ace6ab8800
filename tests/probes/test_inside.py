"""What hidden units say of quotes, on states of which the answer is known."""

import json

import numpy as np
import pytest
import torch

from pipeline.probes.enclosed import enclosed
from pipeline.probes.inside import Inside, best_unit, coloured, linear_accuracy
from tests.probes.test_closing import Bigram, drawn, text_data

QUOTED = 'abab\n"(ab'


class Counting(Bigram):
    """Its second unit is 1 inside quotes and -1 outside, wherever it starts from; the others are noise."""

    def activities(self, x, state):
        inside, before = [], state[0][0, :, 0]
        for symbols in x:
            quote, end = symbols == 1, symbols == 0
            before = torch.where(end, 0.0, torch.where(quote, 1 - before, before))
            inside.append(2 * before - 1)
        noise = torch.from_numpy(np.random.default_rng(len(x)).standard_normal((*x.shape, 2)))
        units = torch.stack([noise[..., 0], torch.stack(inside).double(), noise[..., 1]], dim=-1)
        return [units[..., :2], units[..., 2:]], (before[None, :, None],)


def test_the_unit_that_counts_quotes_is_found_and_named():
    data = text_data("ab\n" * 4 + drawn(3000, 0, QUOTED).replace('"', ' "').replace(" ", ""))
    text = "".join(data.vocabulary.decode(data.parts["test"]))
    # An odd quote of a line opens nothing, which the unit cannot know: there are none.
    text = "\n".join(line if line.count('"') % 2 == 0 else line.replace('"', "", 1) for line in text.split("\n"))
    data = text_data(text)
    probe = Inside(['""'], 2400)
    network = Counting(data)
    assert (
        probe.fits(network, data) and not probe.fits(Bigram(data), data) and not Inside(["{}"], 100).fits(network, data)
    )
    found = probe.measure(network, data, 0)
    measured, [(pair, found)] = found, found["pairs"].items()
    assert pair == '""' and all(measured[name] == found[name] for name in probe.measures)
    inside = enclosed(data.parts["test"][:2400], 1, 1, 0).depth > 0
    assert found["best"] == {"unit": 2, "threshold": 0.0, "above": True}
    assert found["unit"] == found["inside"] == 1.0
    assert found["majority"] == pytest.approx(1 - inside[1200:2399].mean()) and 0.5 < found["majority"] < 0.95
    assert [mark for *_, mark in found["excerpt"]] == [value > 0 for _, value, _ in found["excerpt"]]
    shown = "".join(piece for piece, *_ in found["excerpt"])
    assert len(shown) == 600 and shown in text[1200:2400]
    rows = [{"label": "<lstm>", "runs": [{"seed": 0, "open": True, "found": measured}]}]
    numbers, page = probe.show(json.loads(json.dumps(rows)))
    assert "100.0%" in numbers.html and "unit 2, above inside" in numbers.html and "&lt;lstm&gt;" in page.html
    assert page.html.count("text-decoration: underline") >= 3 and page.html.count("<details") == 1


def test_text_without_quotes_gives_no_numbers():
    data = text_data("ab" * 300)
    found = Inside(['""'], 400).measure(Counting(data), data, 0)
    assert found == {"inside": None, "unit": None, "majority": None, "pairs": {}}
    assert Inside(['""'], 400).show([{"label": "a", "runs": [{"seed": 0, "open": True, "found": found}]}]) == []


def test_the_best_unit_is_the_best_of_all_thresholds_of_all_units():
    draw = np.random.default_rng(3)
    y = draw.random(60) < 0.4
    h = np.round(draw.standard_normal((60, 5)) + y[:, None] * np.array([0.3, -1.5, 0, 0.2, 0.9]), 1)  # with ties
    unit, threshold, above = best_unit(h, y)
    tried = {
        (one, cut, sign): ((h[:, one] > cut) == (y == sign)).mean()
        for one in range(5)
        for cut in {(a + b) / 2 for a, b in zip(sorted(h[:, one]), sorted(h[:, one])[1:]) if a < b}
        for sign in (True, False)
    }
    assert ((h[:, unit] > threshold) == (y == above)).mean() == max(tried.values())
    assert (unit, above) == (1, False)


def test_a_line_through_states_tells_what_no_single_unit_does():
    """Classes parted by h_1 + h_2 > 0: the line is right, a unit alone in 3 of 4 (uniform states)."""
    draw = np.random.default_rng(1)
    h = draw.uniform(-1, 1, (4000, 2)) * [1, 100] + [0, 5]  # in units of their own
    y = h[:, 0] + (h[:, 1] - 5) / 100 > 0
    assert linear_accuracy(h[:2000], y[:2000], h[2000:], y[2000:]) > 0.98
    unit, threshold, above = best_unit(h, y)
    assert ((h[:, unit] > threshold) == (y == above)).mean() == pytest.approx(0.75, abs=0.02)
    shuffled = draw.permutation(y)
    assert linear_accuracy(h[:2000], shuffled[:2000], h[2000:], shuffled[2000:]) == pytest.approx(0.5, abs=0.05)


def test_colours_are_those_of_the_threshold_and_text_is_escaped():
    html = coloured([["<", 1.0, False], ["a", 1.0, False], ["b", -1.0, True]], 0.0)
    assert html.count("<span") == 2 and "&lt;a</span>" in html
    assert "213, 94, 0, 0.75" in html and "0, 114, 178, 0.75); text-decoration: underline" in html


def test_no_threshold_parts_what_is_the_same():
    h, y = np.array([[0, 0], [0, 0], [0, 0], [0, 1]], float), np.array([False, False, True, True])
    assert best_unit(h, y) == (1, 0.5, True)
