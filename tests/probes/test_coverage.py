"""Shares of unknown words against a count in plain Python."""

import collections
import random

import numpy as np
import pytest

from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Words
from pipeline.datasets.text import Text
from pipeline.probes.coverage import Coverage

V = 40


def data():
    draw = random.Random(3)
    parts = {
        part: np.array([min(V - 1, int(draw.expovariate(0.1))) for _ in range(count)], np.uint16)
        for part, count in (("train", 500), ("validation", 50), ("test", 200))
    }
    card = {"corpus": "made", "split": "80-10-10", "counts": {part: len(words) for part, words in parts.items()}}
    return Text(Prepared(parts, Words(["<unk>", *(f"w{k}" for k in range(1, V))], "spaces"), card))


@pytest.mark.parametrize("counted", [100, 10_000])
def test_the_most_frequent_words_of_the_first_ones_are_known(counted):
    found, sizes = data(), [20, 1, 5, 1000]
    probe = Coverage(counted, sizes)
    assert probe.fits(None, found)
    measured = probe.measure(None, found, 0)
    words = found.parts["train"][:counted].tolist()
    counts = collections.Counter(words)
    ranked = sorted((word for word in counts if word and counts[word] > 1), key=lambda word: (-counts[word], word))
    assert measured["known"] == len(ranked) and measured["counted"] == len(words)
    for size in sizes:
        vocabulary = set(ranked[:size])
        judged = found.parts["test"].tolist()
        assert measured[f"outside_{size}"] == sum(word not in vocabulary for word in judged) / len(judged)
    assert list(probe.measures) == ["outside_1000"]


def test_it_is_drawn_as_far_as_there_are_words():
    probe = Coverage(100, [1, 5, 20, 1000])
    measured = probe.measure(None, data(), 0)
    row = {"study": "coverage", "runs": [{"found": measured, "seed": 0}]}
    [exhibit] = probe.show([row | {"name": name, "data": data} for name in "ab" for data in ("english", "finnish")])
    assert "<svg" in exhibit.html and exhibit.html.count("<th>finnish</th>") == 1
    assert exhibit.html.count(f"<td>{measured['outside_5']:.1%}</td>") == 2
    assert "first 100 of the training part" in exhibit.about
