"""A part of the training part: what stays, and what tells it apart."""

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Words
from pipeline.datasets.data import load_data
from pipeline.datasets.text import Text
from pipeline.runs.identity import identify
from pipeline.runs.settling import settle
from tests.conftest import composed, prepared_text, words


@pytest.fixture
def opened(tmp_path):
    overrides = [*prepared_text(tmp_path, words(4000)), "scale=smoke"]

    def of(*more: str):
        cfg = composed(*overrides, *more)
        data = load_data(cfg.data)
        return data, identify(settle(cfg, data), data)

    return of


def test_training_is_cut_and_all_else_stays(opened):
    (whole, _), (part, _) = opened(), opened("data.train_size=3000")
    assert np.array_equal(part.parts["train"], whole.parts["train"][:3000]) and part.card["counts"]["train"] == 3000
    assert part.reads == whole.reads and part.vocabulary.codes == whole.vocabulary.codes
    for name in ("validation", "test"):
        assert np.array_equal(part.parts[name], whole.parts[name])
        assert part.card["counts"][name] == whole.card["counts"][name]
    batches = part.training(4, 16)
    assert batches.elements == 3000 and max(int(batches.at(k).positions.max()) for k in range(len(batches))) == 2998


def test_each_size_is_another_run_and_the_whole_is_the_run_that_it_was(opened):
    data, whole = opened()
    size = data.card["counts"]["train"]
    hashes = {opened(f"data.train_size={one}")[1].hash for one in (2000, 3000, size)}
    assert len(hashes) == 3 and opened(f"data.train_size={size}")[1] == whole
    assert whole.hash in hashes and opened("data.train_size=null")[1] == whole


def test_more_than_there_is_is_refused(opened):
    with pytest.raises(Refusal, match=r"^data.train_size=10000000: the training part of text has [\d,]+ characters"):
        opened("data.train_size=10000000")
    with pytest.raises(Refusal, match="data.train_size=1: take a whole number from 2"):
        opened("data.train_size=1")


def test_of_words_what_only_the_whole_training_part_has_is_left_out():
    parts = {"train": np.arange(9) % 3, "validation": np.arange(4) % 3}
    by_part = {"train": 30, "validation": 12}
    card = {"corpus": "made", "symbols": "words", "counts": {"train": 9, "validation": 4}, "fingerprint": "f"}
    whole = Prepared(parts, Words(["<unk>", "a", "b"], "spaces"), card | {"characters": by_part, "spelling": by_part})
    part = Text(whole.learned_from(5))
    assert part.card["characters"] == part.card["spelling"] == {"validation": 12}
    assert part.measured(1.0, "validation") == Text(whole).measured(1.0, "validation")
