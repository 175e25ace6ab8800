import re

import numpy as np
import pytest
from hydra.utils import instantiate

from pipeline.command.refusal import Refusal
from pipeline.corpora.prepared import Prepared
from pipeline.datasets.problems import Copying
from pipeline.datasets.space import Symbols
from tests.conftest import composed


def copying(**changes):
    return Copying(
        **{"message": 4, "delay": 3, "alphabet": 2, "episodes": 500, "seed": 0, "split": "80-10-10"} | changes
    )


@pytest.mark.parametrize("changes", [{}, {"delay": 0}, {"message": 1}, {"alphabet": 10, "message": 7}])
def test_episodes_are_messages_that_come_again(changes):
    problem = copying(**changes)
    data = problem.generate()
    k, digits = problem.message, "0123456789"[: problem.alphabet]
    for part, episodes in (("train", 400), ("validation", 50), ("test", 50)):
        symbols, recall = getattr(data, part), data.recall[part]
        text = data.vocabulary.decode(symbols)
        found = re.findall(rf"([{digits}]{{{k}}})(\.{{{problem.delay}}})\?([{digits}]{{{k}}})\n", text)
        assert len(found) == episodes and all(first == again for first, _, again in found)
        assert len(text) == episodes * (2 * k + problem.delay + 2) and symbols.dtype == np.uint8
        # The places of the second copies, no others.
        assert "".join(np.array(list(text))[recall]) == "".join(again for _, _, again in found)
    assert data.vocabulary.decode(range(len(data.vocabulary))) == "".join(sorted(digits + ".?\n"))


def test_messages_are_uniform_and_independent_of_each_other():
    problem = copying(message=3, episodes=8000)
    data = problem.generate()
    messages = data.train[data.recall["train"]].reshape(-1, 3) - data.vocabulary.encode("0")[0]
    counts = np.bincount(messages @ [4, 2, 1], minlength=8)
    assert len(messages) == 6400 and ((counts - 800) ** 2 / 800).sum() < 24.3  # chi-square of 7 degrees, 0.1 per cent
    assert abs(np.corrcoef(messages[:-1, 0], messages[1:, 0])[0, 1]) < 0.05


def test_it_is_a_prepared_corpus():
    problem = copying()
    data = problem.generate()
    assert isinstance(data, Prepared) and data.space == Symbols(5) and data.elements == 400 * 13
    assert data.card["vocabulary"] == 5 and data.card["counts"] == {"train": 5200, "validation": 650, "test": 650}
    assert {"corpus", "split", "symbols", "unknown", "fingerprint"} <= set(data.card)
    window = data.streams(4, 10).window(0)
    assert window.inputs.shape == (10, 4) and window.targets.max() < 5
    again = copying().generate()
    assert (data.test == again.test).all() and data.card == again.card
    others = [
        copying(**change).generate().card["fingerprint"]
        for change in ({"seed": 1}, {"split": "70-15-15"}, {"alphabet": 3}, {"delay": 4})
    ]
    assert len({data.card["fingerprint"], *others}) == 5


def test_the_choice_composes():
    data = composed("data=copying").data
    made = instantiate(
        {key: value for key, value in data.items() if key in ("_target_", *Copying.__dataclass_fields__)}
    ).generate()
    assert made.card["corpus"] == "copying" and len(made.train) == 4000 * (2 * data.message + data.delay + 2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"message": 0}, "data.message=0: take a whole number from 1$"),
        ({"delay": -1}, "data.delay=-1"),
        ({"alphabet": 11}, "data.alphabet=11: take a whole number from 2 to 10"),
        ({"alphabet": 1}, "alphabet=1"),
        ({"episodes": 12}, "data.episodes=12: too few for data.split=80-10-10"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(Refusal, match=message):
        copying(**change).generate()
