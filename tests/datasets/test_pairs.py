"""Sequences that are turned into others: what is read, given and asked, and what is shown."""

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.corpora.vocabulary import Vocabulary, Words
from pipeline.datasets.pairs import Pair, Pairs
from pipeline.datasets.ragged import PREDICTIONS
from pipeline.datasets.space import Symbols

LETTERS, CAPITALS = (Vocabulary("characters", sorted(map(ord, letters))) for letters in ("abcd", "ABCD"))


class Turned(torch.nn.Module):
    """Answers a source with its capitals from its end: z_t says the (S - t)-th letter, then END; each is right with a
    probability near 1."""

    dtype, device = torch.float32, torch.device("cpu")

    def start(self, batch, source):
        lengths = (source != 4).sum(1)
        return source[None], lengths[None, :, None]

    def forward(self, x, state):
        source, left = state
        at = left[0, :, 0] - 1
        symbol = torch.where(at >= 0, source[0].gather(1, at.clamp(min=0)[:, None])[:, 0], 4)
        return 50.0 * torch.nn.functional.one_hot(symbol, 5)[None].float(), (source, left - 1)


def pairs_of(*sides: str, **more) -> Pairs:
    """From "ab AB A": a source, and its answers."""
    every = [
        Pair(LETTERS.encode(source), list(map(CAPITALS.encode, answers)))
        for source, *answers in (side.split() for side in sides)
    ]
    parts = {"train": every, "validation": every[:1], "test": every}
    return Pairs("turned", more.get("source", LETTERS), CAPITALS, ("letter", "capital"), parts, 0)


def test_a_source_is_given_and_its_answer_read_one_behind_and_asked_with_its_end():
    data = pairs_of("ab BA", "c C D")
    assert data.reads == data.answers == Symbols(5, "capital") and data.given == (Symbols(4, "letter"),)
    one, first, second = data.parts["train"]
    assert (one.inputs.tolist(), one.targets.tolist(), one.given[0].tolist()) == ([4, 1, 0], [1, 0, 4], [0, 1])
    assert [first.targets.tolist(), second.targets.tolist()] == [[2, 4], [3, 4]]  # each of two right answers
    assert data.card["counts"] == {"train": 7, "validation": 3, "test": 7}
    [batch] = data.held_out("test")
    assert batch.given[0].tolist() == [[2, 4], [2, 4], [0, 1]] and batch.count == 7


def test_a_batch_is_answered_as_each_source_alone():
    data = pairs_of("ab BA", "c C")
    sources = [LETTERS.encode(word) for word in ("abcd", "a", "dc", "bbbb")]
    together = [answer.tolist() for answer in data.answered(Turned(), sources)]
    assert together == [[3, 2, 1, 0], [0], [2, 3], [1, 1, 1, 1]]
    assert together == [answer.tolist() for one in sources for answer in data.answered(Turned(), [one], beam=3)]


def test_what_is_written():
    data = pairs_of("ab BA", "c C D", "dd D")
    text = "".join(data.write(Turned(), "", 1.0, 100, None))
    assert text.split("\n\n")[:3] == [
        "given   ab\nanswer  BA\nright   BA",
        "given   c\nanswer  C\nright   C  or  D",
        "given   dd\nanswer  DD\nright   D",
    ]
    assert "".join(data.write(Turned(), "abd", 1.0, 2, None)) == " DB"
    assert list(data.write(Turned(), "", 1.0, 0, None)) == []


def test_a_prompt_with_letters_that_are_not_known_is_refused_and_unknown_words_are_said():
    data = pairs_of("ab BA")
    assert data.check_prompt("") is data.check_prompt("abba") is None
    with pytest.raises(Refusal, match="^prompt='axb': turned is not written with 'x': take characters among abcd$"):
        data.check_prompt("axb")
    words = pairs_of("ab BA", source=Words(["<unk>", "a", "b"], "spaces"))
    assert words.check_prompt("a c b") == "the training part lacks 'c': read as unknown"


def test_of_one_length_sources_of_one_length_stand_together():
    rng = np.random.default_rng(0)
    sides = ["".join(rng.choice(list("abcd"), n)) + " " + "A" * m for n, m in rng.integers(1, [9, 4], (400, 2))]
    batches = pairs_of(*sides).training(10)
    lengths = [[(batch.inputs != 5).sum(0), (batch.given[0] != 4).sum(1)] for batch in map(batches.at, range(40))]
    spread = np.array([[(one.max() - one.min()).item() for one in pair] for pair in lengths])
    assert spread[:, 0].mean() < 0.3 and spread[:, 1].mean() < 3  # of 0..2 and 0..7; in any order almost all


def test_held_out_batches_are_so_small_that_predictions_of_many_words_fit():
    many, steps = 2**18, 16
    alphabet = Words(["<unk>"] * (many - 1), "spaces")
    pair = Pair(np.array([0]), [np.zeros(steps - 1, np.int64)])
    data = Pairs("many", LETTERS, alphabet, ("letter", "word"), {"train": [pair] * 9, "test": [pair] * 9}, 0)
    sizes = [batch.inputs.shape[1] for batch in data.held_out("test")]
    assert sizes == [4, 4, 1] and 4 * steps * many == PREDICTIONS
