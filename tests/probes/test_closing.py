"""Pairs of symbols, and what probability models give to closing them."""

import itertools
import json
import re

import numpy as np
import pytest
import torch

from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary, Words
from pipeline.datasets import text as texts
from pipeline.datasets.text import Text
from pipeline.models.model import SequenceModel
from pipeline.probes.closing import Closing, area, figure
from pipeline.probes.enclosed import enclosed, symbol_of

LETTERS = '\n"()ab'


def text_data(text, letters=LETTERS):
    vocabulary = Vocabulary("characters", sorted(map(ord, letters)))
    parts = dict.fromkeys(("train", "validation", "test"), vocabulary.encode(text))
    card = {"corpus": "made", "counts": {part: len(text) for part in parts}}
    return Text(Prepared(parts, vocabulary, card))


def drawn(length, seed, letters=LETTERS):
    return "".join(np.random.default_rng(seed).choice(list(letters), length))


class Bigram(SequenceModel):
    """p(next | present) is row `present` of a table; hidden units are what `units(text so far)` says."""

    device, dtype = torch.device("cpu"), torch.float64

    def __init__(self, data, units=None):
        super().__init__(data.reads, data.answers)
        table = np.random.default_rng(5).dirichlet(np.ones(data.reads.count), data.reads.count)
        self.table, self.units, self.vocabulary = torch.from_numpy(table), units, data.vocabulary

    def start(self, batch):
        return (torch.zeros(1, batch, 1),)

    def forward(self, x, state):
        return torch.log(self.table)[x.clamp(max=len(self.table) - 1)], state


def pairs_by_rewriting(text):
    """Brackets matched by taking innermost pairs away, again and again."""
    places, pairs = list(range(len(text))), []
    while found := re.search(r"\([^()]*\)", text):
        i, j = found.start(), found.end() - 1
        pairs.append((places[i], places[j]))
        text = text[:i] + "a" + text[i + 1 : j] + "a" + text[j + 1 :]
    return pairs


def quotes_by_lines(text):
    pairs, before = [], 0
    for line in text.split("\n"):
        at = [before + place for place, letter in enumerate(line) if letter == '"']
        pairs += list(zip(at[::2], at[1::2]))
        before += len(line) + 1
    return pairs


@pytest.mark.parametrize("pair, of", [("()", pairs_by_rewriting), ('""', quotes_by_lines)])
def test_depth_and_distance_are_those_of_all_pairs_one_by_one(pair, of):
    for seed in range(20):
        text = drawn(200, seed)
        data = text_data(text)
        found = enclosed(data.parts["test"], *(symbol_of(data, one) for one in pair), symbol_of(data, "\n"))
        for place in range(len(text)):
            around = [i for i, j in of(text) if i <= place < j]
            assert found.depth[place] == len(around)
            assert found.distance[place] == (place + 1 - max(around) if around else 0)


def test_a_symbol_is_known_by_characters_and_by_words_and_by_no_numbers():
    words = text_data("ab")
    words.vocabulary = Words(["<unk>", '"', "("], "spaces")
    assert [symbol_of(words, one) for one in ('"', "(", ")", "a b")] == [1, 2, None, None]
    assert symbol_of(text_data("ab"), ")") == 3 and symbol_of(text_data("ab"), "{") is None
    assert symbol_of(object(), ")") is None


def test_probabilities_by_depth_and_distance_are_those_of_every_place_enumerated(monkeypatch):
    """In several streams, with a symbol that is not asked."""
    monkeypatch.setattr(texts.Text, "context", 7)
    text = drawn(900, 1, LETTERS + "((ab))") + "é" + drawn(400, 2)
    data = text_data(text)
    network = Bigram(data)
    assert Closing(["()", "{}"], 5, 5).fits(network, data) and not Closing(["{}", "<<>"], 5, 5).fits(network, data)
    most, far = 1200, 4
    found = Closing(["()", "{}"], most, far).measure(network, data, 0)
    assert list(found["pairs"]) == ["()"]
    pairs = pairs_by_rewriting(text[:most])
    index = {letter: place for place, letter in enumerate(sorted(LETTERS))}
    depths, distances, inside, outside = {}, {}, [], []
    for place, following in enumerate(text[1:most]):
        if following == "é":
            continue
        around = [i for i, j in pairs if i <= place < j]
        # The unknown symbol is read as a zero input; this network gives it the last row.
        p = network.table[-1 if text[place] == "é" else index[text[place]], index[")"]].item()
        depths.setdefault(("none", "one", "many")[min(2, len(around))], []).append((p, following == ")"))
        if around:
            distance = place + 1 - max(around)
            distances.setdefault(distance.bit_length(), []).append((p, following == ")"))
            inside += [p] * (distance > far)
        else:
            outside.append(p)
    one = found["pairs"]["()"]
    for name, some in depths.items():
        assert one["depths"][name]["places"] == len(some)
        assert (one["depths"][name]["p"], one["depths"][name]["follows"]) == pytest.approx(np.mean(some, axis=0))
    assert len(one["distances"]) == max(distances)
    for bits, some in distances.items():
        of = one["distances"][bits - 1]
        closing = [p for p, follows in some if follows]
        assert (of["from"], of["to"]) == (2 ** (bits - 1), 2**bits - 1)
        assert (of["places"], of["closings"]) == (len(some), len(closing))
        assert (of["p"], of["follows"]) == pytest.approx(np.mean(some, axis=0))
        assert of["p_closing"] == (pytest.approx(np.mean(closing)) if closing else None)
    higher = [(a > b) + (a == b) / 2 for a, b in itertools.product(inside, outside)]
    assert found["open"] == one["auc"] == pytest.approx(np.mean(higher)) and 0.1 < found["open"] < 0.9


def test_who_knows_what_is_open_is_told_from_who_does_not():
    assert area(np.array([0.3, 0.4]), np.array([0.1, 0.2])) == 1 and area(np.ones(3), np.ones(2)) == 0.5
    assert area(np.array([]), np.ones(2)) is None


def test_the_page_has_a_panel_a_pair_and_tables_of_each_run():
    data = text_data(drawn(3000, 3, LETTERS + "(a)"))
    found = Closing(["()", '""'], 3000, 3).measure(Bigram(data), data, 0)
    units = {"element": "char"}
    rows = [{"name": name, "label": f"<{name}>", "units": units, "study": "made",
             "runs": [{"seed": 0, "found": found}]} for name in ("lstm", "ngram")]  # fmt: skip
    drawn_, listed = Closing(["()", '""'], 3000, 3).show(json.loads(json.dumps(rows)))
    assert drawn_.html.startswith("<svg") and "lstm" in drawn_.html and drawn_.title == "Closing symbols by distance"
    assert listed.html.count("<details") == 2 and "&lt;lstm&gt;" in listed.html and "( ) open" in listed.html
    [first, second] = figure({"lstm": found["pairs"]}, ["()", '""'], "chars").axes
    line = dict(zip(*first.lines[0].get_data()))
    assert line[1] == pytest.approx(found["pairs"]["()"]["distances"][0]["p_closing"])
    highest = max(y for axes in (first, second) for line in axes.lines for y in line.get_ydata())
    assert first.get_ylim() == second.get_ylim() and highest < first.get_ylim()[1] < 1.2 * highest
    rows[1] |= {"units": {"element": "word"}}
    titles = [exhibit.title for exhibit in Closing(["()"], 9, 3).show(rows)]
    assert titles == [
        *(f"Closing symbols by distance, by {kind}" for kind in ("chars", "words")),
        "None, one, many open",
    ]
    nothing = [
        {"name": "a", "label": "a", "units": units, "study": "made", "runs": [{"seed": 0, "found": {"pairs": {}}}]}
    ]
    assert Closing(["()"], 9, 3).show(nothing) == []
