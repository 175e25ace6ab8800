"""Every sequence is read once a pass, from its own start, in batches of like lengths."""

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.ragged import BUCKETS, Sequences
from pipeline.datasets.space import Reals, Symbols
from tests.datasets.problems import Names, Topics
from tests.datasets.test_episodes import equal


def numbered(count: int, seed: int = 0, **more) -> Sequences:
    """Sequence k reads k, k, .. and answers 1 at its end; lengths 1 to 40."""
    lengths = np.random.default_rng(1).integers(1, 41, size=count)
    parts = {
        part: [([k] * n, [2] * (n - 1) + [1], [float(k)]) for k, n in enumerate(lengths)]
        for part in ("train", "validation")
    }
    return Sequences("numbered", Symbols(count), Symbols(2), parts, seed, given=(Reals(1),), **more)


def pass_of(batches, number: int) -> list:
    return [batches.at(step) for step in range(number * len(batches), (number + 1) * len(batches))]


def read(batch, count: int) -> list[int]:
    """Numbers of the sequences, -1 for one that fills the batch up. Checks that each is whole, given its own, and asked
    at its end alone."""
    found = []
    for b in range(batch.inputs.shape[1]):
        x, y = batch.inputs[:, b].tolist(), batch.targets[:, b].tolist()
        steps = sum(one != count for one in x)
        if steps:
            assert x == x[:1] * steps + [count] * (len(x) - steps) and batch.given[0][b].tolist() == [x[0]]
            assert y == [2] * (steps - 1) + [1] + [2] * (len(x) - steps)
        else:
            assert set(y) == {2} and batch.given[0][b].tolist() == [0]
        found.append(x[0] if steps else -1)
    return found


@pytest.mark.parametrize("count, batch", [(50, 1), (50, 7), (50, 50), (333, 4), (64, 4)])
def test_a_pass_reads_every_sequence_once_whatever_the_batch(count, batch):
    batches = numbered(count).training(batch, None)
    orders = []
    for number in range(2):
        every = [read(one, count) for one in pass_of(batches, number)]
        assert all(len(one) == batch for one in every)
        order = sum(every, [])
        assert sorted(k for k in order if k >= 0) == list(range(count))
        assert order.count(-1) == -count % batch
        orders.append(order)
    assert orders[0] != orders[1]
    assert orders[0] == sum((read(one, count) for one in pass_of(batches, 0)), [])  # and back
    other = sum((read(one, count) for one in pass_of(numbered(count, seed=1).training(batch, None), 0)), [])
    assert other != orders[0]


def test_a_continuation_reads_on_in_the_middle_of_a_pass():
    batches = numbered(50).training(7, None)
    expected = [batches.at(step) for step in range(20)]
    again = numbered(50).training(7, None)
    assert all(equal(expected[step], again.at(step)) for step in range(11, 20))


def test_counts_positions_and_what_fills_up():
    data = numbered(50)
    batches = data.training(7, None)
    assert batches.elements == data.card["counts"]["train"] and batches.longest == batches.lengths.max()
    for number in (0, 1):
        places = []
        for batch in pass_of(batches, number):
            assert batch.count == sum(k >= 0 for k in read(batch, 50)) and not batch.carried
            assert 0 <= batch.positions.min() and batch.positions.max() < batches.elements
            places += batch.positions[batch.inputs < 50].tolist()
        assert sorted(places) == list(range(batches.elements))


def test_lengths_within_a_batch_are_alike():
    data, batch = numbered(40 * BUCKETS), 8
    batches = data.training(batch, None)
    padded = sum(one.inputs.numel() for one in pass_of(batches, 0))
    assert batches.elements <= padded < 1.1 * batches.elements
    longest = [len(one.inputs) for one in pass_of(batches, 0)]
    assert longest[:BUCKETS] != sorted(longest[:BUCKETS])  # and batches are shuffled
    chance = np.random.default_rng(0).permutation(batches.lengths).reshape(-1, batch).max(1).sum() * batch
    assert chance > 1.5 * batches.elements


def test_the_shares_of_ranks_are_the_batch_of_one():
    alone, ranks = numbered(50).training(8, None), [numbered(50).training(8, None, rank, 4) for rank in range(4)]
    filled = 0
    for step in range(2 * len(alone)):
        whole, parts = alone.at(step), [rank.at(step) for rank in ranks]
        assert {part.count for part in parts} == {whole.count}
        for name, side in (("inputs", 1), ("targets", 1), ("positions", 1)):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts], side), getattr(whole, name))
        assert torch.equal(torch.cat([part.given[0] for part in parts]), whole.given[0])
        filled += any(set(read(part, 50)) == {-1} for part in parts)
    assert filled  # a rank may have nothing to read


def test_held_out_sequences_are_asked_once_each(monkeypatch):
    data = numbered(50)
    for at_once in (500, 7):
        monkeypatch.setattr("pipeline.datasets.ragged.AT_ONCE", at_once)
        every = list(data.held_out("validation"))
        assert sorted(sum((read(batch, 50) for batch in every), [])) == list(range(50))
        assert sum(batch.count for batch in every) == 50
    lengths = [len(inputs) for inputs, *_ in data.parts["validation"]]
    for most, expected in ((1, 1), (sum(lengths[:5]), 5), (sum(lengths[:5]) - 1, 4), (10**9, 50)):
        [found] = [sum((read(batch, 50) for batch in data.held_out("validation", most)), [])]
        assert sorted(found) == list(range(expected))


def test_the_fingerprint_is_of_all_that_is_read():
    def of(**more):
        return numbered(**({"count": 20} | more)).card["fingerprint"]

    assert of() == of() and len({of(), of(seed=1), of(count=21), Names(5).card["fingerprint"]}) == 4
    one = ([0, 1], [2, 1], [0.5])
    parts = [
        [one],
        [([1, 1], *one[1:])],
        [([0, 1], [2, 0], [0.5])],
        [(*one[:2], [0.25])],
        [one, one],
        [([0], [2], [0.5])],
    ]
    found = {
        Sequences("n", Symbols(3), Symbols(2), {"train": train, "validation": [one]}, 0, (Reals(1),)).card[
            "fingerprint"
        ]
        for train in parts
    }
    assert len(found) == len(parts)


def test_the_part_that_is_judged():
    assert Topics(20).judged_on == "validation" and Names(20).judged_on == "test"


def test_nonsense_is_refused():
    with pytest.raises(Refusal, match="trainer.batch=51: the training part of data=numbered has 50 sequences: take so"):
        numbered(50).training(51, None)
    with pytest.raises(Refusal, match="data=n: the validation part has no sequence"):
        Sequences("n", Symbols(3), Symbols(3), {"train": [([0], [1])], "validation": []}, 0)
    with pytest.raises(ValueError, match="are no sequences of one length"):
        Sequences("n", Symbols(3), Symbols(3), {"train": [([0, 1], [1])]}, 0)
