import re

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.datasets.copying import Copying, Recalled
from pipeline.datasets.data import load_data
from pipeline.datasets.space import Symbols
from pipeline.datasets.text import Text
from tests.conftest import composed


def copying(**changes):
    return Copying(
        **{"message": 4, "delay": 3, "alphabet": 2, "episodes": 500, "seed": 0, "split": "80-10-10"} | changes
    )


@pytest.mark.parametrize("changes", [{}, {"delay": 0}, {"message": 1}, {"alphabet": 10, "message": 7}])
def test_episodes_are_messages_that_come_again(changes):
    problem = copying(**changes)
    data = problem.open()
    k, digits = problem.message, "0123456789"[: problem.alphabet]
    for part, episodes in (("train", 400), ("validation", 50), ("test", 50)):
        symbols, recall = data.parts[part], data.recall
        text = data.vocabulary.decode(symbols)
        found = re.findall(rf"([{digits}]{{{k}}})(\.{{{problem.delay}}})\?([{digits}]{{{k}}})\n", text)
        assert len(found) == episodes and all(first == again for first, _, again in found)
        assert len(text) == episodes * (2 * k + problem.delay + 2) and symbols.dtype == np.uint8
        # The places of the second copies, no others.
        assert data.episode == len(recall) == 2 * k + problem.delay + 2
        assert "".join(np.array(list(text))[np.tile(recall, episodes)]) == "".join(again for _, _, again in found)
    assert data.vocabulary.decode(range(len(data.vocabulary))) == "".join(sorted(digits + ".?\n"))


def test_messages_are_uniform_and_independent_of_each_other():
    problem = copying(message=3, episodes=8000)
    data = problem.open()
    train = data.parts["train"]
    messages = train.reshape(-1, data.episode)[:, data.recall] - data.vocabulary.encode("0")[0]
    counts = np.bincount(messages @ [4, 2, 1], minlength=8)
    assert len(messages) == 6400 and ((counts - 800) ** 2 / 800).sum() < 24.3  # chi-square of 7 degrees, 0.1 per cent
    assert abs(np.corrcoef(messages[:-1, 0], messages[1:, 0])[0, 1]) < 0.05


def test_it_is_a_text():
    problem = copying()
    data = problem.open()
    assert isinstance(data, Recalled) and isinstance(data, Text) and len(data.parts["train"]) == 400 * 13
    assert data.reads == data.answers == Symbols(5) and data.given == () and data.bits == problem.bits == 4
    assert len(data.vocabulary) == 5 and data.card["counts"] == {"train": 5200, "validation": 650, "test": 650}
    assert {"corpus", "split", "symbols", "counts", "fingerprint"} == set(data.card)
    batch = data.training(4, 10).at(0)
    assert batch.inputs.shape == (10, 4) and batch.targets.max() < 5
    again = copying().open()
    assert (data.parts["test"] == again.parts["test"]).all() and data.card == again.card
    others = [
        copying(**change).open().card["fingerprint"]
        for change in ({"seed": 1}, {"split": "70-15-15"}, {"alphabet": 3}, {"delay": 4})
    ]
    assert len({data.card["fingerprint"], *others}) == 5


def test_the_choice_composes():
    data = composed("data=copying").data
    made = load_data(data)
    episode = 2 * data.message + data.delay + 2
    assert made.card["corpus"] == "copying" and len(made.parts["train"]) == 4000 * episode and made.episode == episode


def test_too_few_episodes_are_refused():
    with pytest.raises(Refusal, match="data.episodes=12: too few for data.split=80-10-10"):
        copying(episodes=12).open()
