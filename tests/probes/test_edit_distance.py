"""Distances to the nearest pronunciation, against the definition; BLEU, against a hand-worked one."""

import itertools

import pytest

from pipeline.probes.edit_distance import EditDistance, nearest
from pipeline.probes.translation import Translation
from tests.datasets.test_pairs import Turned, pairs_of


def reachable(one: tuple, symbols: str) -> set[tuple]:
    """All that is one insertion, omission or change away."""
    left = [one[:k] + one[k + 1 :] for k in range(len(one))]
    put = [one[:k] + (s,) + one[k:] for k in range(len(one) + 1) for s in symbols]
    changed = [one[:k] + (s,) + one[k + 1 :] for k in range(len(one)) for s in symbols]
    return {*left, *put, *changed}


def test_the_distance_is_the_least_number_of_changes():
    start, found, border = ("a", "b", "a"), {("a", "b", "a"): 0}, {("a", "b", "a")}
    for distance in range(1, 6):
        border = set().union(*(reachable(one, "ab") for one in border)) - found.keys()
        found |= dict.fromkeys(border, distance)
    for one in itertools.chain(*(itertools.product("ab", repeat=n) for n in range(6))):
        assert nearest(list(one), [list(start)]) == (found[one], 3)


def test_the_nearest_answer_counts_and_of_two_as_near_the_longest():
    assert nearest([1, 2, 3], [[4, 4], [1, 2, 3]]) == (0, 3)
    assert nearest([1, 2], [[1], [1, 2, 3], [9, 9, 9, 9, 9]]) == (1, 3)


def test_errors_over_the_phones_of_the_nearest_and_the_share_of_wrong_words():
    # Turned says BA, C, DD, A: right; right by the second answer; one too many of 1; one of 3 left out twice.
    data = pairs_of("ab BA", "c DD C", "dd D", "a ABC")
    found = EditDistance(1, None, 3).measure(Turned(), data, 0)
    assert found["per"] == pytest.approx((0 + 0 + 1 + 2) / (2 + 1 + 1 + 3)) and found["wer"] == 2 / 4
    assert found["words"] == 4
    assert found["examples"] == [["ab", "BA", ["BA"]], ["c", "C", ["DD", "C"]], ["dd", "DD", ["D"]]]
    assert EditDistance(2, 3, 1).measure(Turned(), data, 0)["wer"] == pytest.approx(1 / 3)
    row = {"name": "one", "runs": [{"found": found}]}
    [exhibit] = EditDistance(1, None, 3).show([row, row | {"name": "<b>"}])
    assert "<th>ab</th><td>BA</td><td>BA</td><td>BA</td>" in exhibit.html and "DD or C" in exhibit.html
    assert "<td>D</td><td><s>DD</s></td>" in exhibit.html and "&lt;b&gt;" in exhibit.html
    sizes = [row | {"label": f"train_size={size} one"} for size in (10, 20)]
    [exhibit] = EditDistance(1, None, 3).show(sizes)
    assert "<th>train_size=10 one</th><th>train_size=20 one</th>" in exhibit.html


def test_bleu_is_that_of_texts_as_they_are_written():
    data = pairs_of("abcd DCBA", "aaaa AAAA")
    assert not Translation(1, None, 2).fits(None, data)
    # Characters of one word each: spaced, so that BLEU has words to count.
    data.target.decode = lambda indices: " ".join("ABCD"[index] for index in indices)
    try:
        found = Translation(1, None, 1).measure(Turned(), data, 0)
        assert found["bleu"] == pytest.approx(100) and found["texts"] == 2
        assert found["examples"] == [["abcd", "D C B A", "D C B A"]] and "tok:13a" in found["signature"]
        other = pairs_of("abcd DCBA", "aaaa AAAB")
        # Of 8 words 7 are right, of 6 pairs 5, of 4 threes 3, of 2 fours 1.
        expected = 100 * (7 / 8 * 5 / 6 * 3 / 4 * 1 / 2) ** 0.25
        assert Translation(1, None, 1).measure(Turned(), other, 0)["bleu"] == pytest.approx(expected)
        [exhibit] = Translation(1, None, 1).show([{"name": "one", "runs": [{"found": found}]}])
        assert "<th>abcd</th><td>D C B A</td><td>D C B A</td>" in exhibit.html and "tok:13a" in exhibit.about
    finally:
        del data.target.decode
