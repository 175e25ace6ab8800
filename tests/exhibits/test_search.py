"""What the page shows of a hyperparameter search."""

import re

from pipeline.exhibits.search import searched

UNITS = {"loss": "nats/char", "element": "char", "digits": ".3f", "also": {}, "logarithmic": False}
RATE = {"key": "optimizer.lr", "low": 0.001, "high": 0.1, "whole": False, "log": True, "step": None, "choices": None}
CELL = {"key": "model.cell", "low": None, "high": None, "whole": False, "log": False, "step": None}
CELL |= {"choices": ["a", "<b>"]}


def search(name, trials, **more):
    found = [
        {"number": number, "settings": {"optimizer.lr": rate, "model.cell": cell}, "value": value}
        for number, (rate, cell, value) in enumerate(trials)
    ]
    best = min((one for one in found if one["value"] is not None), key=lambda one: one["value"])["number"]
    return {
        "name": name,
        "units": UNITS,
        "seeds": [0, 1],
        "parameters": [RATE, CELL],
        "trials": found,
        "best": best,
        "at_its_end": [],
        "importances": None,
    } | more


RNN = search("rnn", [(0.001, "a", 2.0), (0.01, "<b>", 1.75), (0.1, "a", None)], at_its_end=["optimizer.lr"])
LSTM = search("lstm", [(0.002, "a", 1.5), (0.05, "<b>", 1.25)], importances={"optimizer.lr": 0.75, "model.cell": 0.25})


def test_the_best_of_each_stands_first_with_its_ranges():
    table, figure, importances = searched({"study": "mine", "search": [RNN, LSTM]})
    rows = re.findall(r"<tr>(.*?)</tr>", str(table.html))[1:]
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    assert [(row[0], row[1], row[3]) for row in cells] == [("lstm", "1.250", "2"), ("rnn", "1.750", "3, 1 diverged")]
    assert cells[0][2] == "optimizer.lr=0.05 (0.001 to 0.1), model.cell=&lt;b&gt; (of a, &lt;b&gt;)"
    assert "mean over 2 seeds" in table.about and "optimizer.lr of rnn lies at an end" in table.about
    assert "of lstm lies" not in table.about
    assert "<b>" not in str(figure.html) and "against optimizer.lr" in str(figure.html)
    assert re.findall(r"<td>(.*?)</td>", str(importances.html)) == ["75%", "25%"]


def test_the_figure_has_a_panel_a_setting_and_a_ring_around_the_best(monkeypatch):
    from pipeline.exhibits import search as module

    drawn = []
    monkeypatch.setattr(module, "svg", lambda figure, title: drawn.append(figure) or "")
    searched({"study": "mine", "search": [RNN, LSTM]})  # the best first, as in the tables and curves
    rate, cell = drawn[0].axes
    assert (rate.get_xscale(), cell.get_xscale()) == ("log", "linear")
    assert [text.get_text() for text in cell.get_xticklabels()] == ["<b>", "a"]
    lines = [tuple(zip(*line.get_data())) for line in rate.lines]
    assert lines == [((0.002, 1.5), (0.05, 1.25)), ((0.05, 1.25),), ((0.001, 2.0), (0.01, 1.75)), ((0.01, 1.75),)]
    assert [line.get_markersize() > 8 for line in rate.lines] == [False, True, False, True]


def test_other_studies_show_none_and_other_units_stand_apart():
    assert searched({"study": "mine"}) == searched({"study": "mine", "search": None}) == []
    other = LSTM | {"units": UNITS | {"loss": "squared error"}, "importances": None}
    assert len(searched({"study": "mine", "search": [RNN, other]})) == 4
