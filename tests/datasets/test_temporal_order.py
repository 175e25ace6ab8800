"""The temporal order problem, read letter by letter."""

import math
from collections import Counter

import pytest

from pipeline.datasets.temporal_order import TemporalOrder

MANY = 1500
# Where letters X and Y stand, of T = 100: the papers' ranges, both ends among them.
RANGES = {
    ("martens", 2): [range(1, 11), range(40, 51)],
    ("martens", 3): [range(1, 11), range(30, 41), range(50, 61)],
    ("hochreiter", 2): [range(10, 21), range(50, 61)],
    ("hochreiter", 3): [range(10, 21), range(33, 44), range(66, 77)],
}


@pytest.mark.parametrize("form, bits", RANGES)
def test_letters_stand_where_they_may_and_their_order_is_asked(form, bits):
    problem = TemporalOrder(100, bits, form, seed=1, episodes=10, held=MANY)
    classes, lengths, letters = Counter(), Counter(), Counter()
    places = [Counter() for _ in range(bits)]
    for k in range(MANY):
        inputs, targets, _ = problem.drawn("validation", k)
        read = problem.spell(problem.reads, inputs)
        assert read[0] == "E" and read[-1] == "B" and not {"E", "B"} & set(read[1:-1])
        order = [letter for letter in read if letter in "XY"]
        assert [len(order), *targets[:-1]] == [bits] + [2**bits] * (len(read) - 1)
        assert problem.spell(problem.answers, targets)[-1] == "".join(order)
        classes["".join(order)] += 1
        lengths[len(read)] += 1
        letters.update(read[1:-1])
        for counter, t in zip(places, [t for t, letter in enumerate(read) if letter in "XY"]):
            counter[t] += 1
    assert len(classes) == 2**bits and lengths.keys() == set(range(100, 111))
    for found, chances in ((classes, 2**bits), (lengths, 11), *zip(places, map(len, RANGES[form, bits]))):
        assert max(abs(count - MANY / chances) for count in found.values()) < 5 * math.sqrt(MANY / chances)
    assert [counter.keys() for counter in places] == [set(one) for one in RANGES[form, bits]]
    distracting = sum(letters[letter] for letter in "abcd")
    assert all(abs(letters[letter] / distracting - 0.25) < 0.008 for letter in "abcd")


def test_ranges_grow_with_the_lag_and_never_meet():
    for (form, bits), ranges in RANGES.items():
        for lag in (10, 13, 200):
            problem = TemporalOrder(lag, bits, form, 2, 10, 10)
            read = [problem.spell(problem.reads, problem.drawn("test", k).inputs) for k in range(1000)]
            found = [[t for t, letter in enumerate(one) if letter in "XY"] for one in read]
            assert {len(one) for one in found} == {bits} and {one[-1] for one in read} == {"B"}
            for at, steps in zip(zip(*found), ranges):
                assert min(at) == max(1, lag * steps[0] // 100) and max(at) == max(1, lag * steps[-1] // 100)


def test_classes_are_numbered_and_solved_as_the_papers_say():
    two, three = (TemporalOrder(50, bits, "hochreiter", 0, 10, 10) for bits in (2, 3))
    assert two.spell(two.answers, range(5)) == ["XX", "XY", "YX", "YY", "·"]
    assert three.spell(three.answers, [1, 4]) == ["XXY", "YXX"]
    assert (two.name, three.name) == ("temporal_order", "temporal_order_3bit")
    assert two.criterion.met(0.09, 1.0) and not two.criterion.met(0.11, 1.0) and not two.criterion.met(0.09, 0.999)
    martens = TemporalOrder(50, 2, "martens", 0, 10, 10).criterion
    assert martens.met(9.0, 0.99) and not martens.met(0.0, 0.98)
