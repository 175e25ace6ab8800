"""Articles and their topics, in small files of the package's form."""

import numpy as np
import pytest
import torch

from pipeline.corpora.corpus import CorpusError
from pipeline.datasets.reuters import FILES, Reuters, read_articles

HEAD = "Category\tText\nd\tstring\nclass\t\n\n"
TRAIN = [("earn", "net net shr"), ("acq", "buys net stake"), ("earn", "shr net odd"), ("acq", "buys stake stake x")]


def made(tmp_path, monkeypatch, **changes):
    some = {"R8_train": TRAIN, "R8_test": [("acq", "stake new net")]}
    some |= {"R52_train": [*TRAIN, ("tin", "tin tin")], "R52_test": [("tin", "net")]}
    paths = [tmp_path / file for file in FILES.values()]
    for path, name in zip(paths, FILES):
        path.write_text(HEAD + "".join(f"{topic}\t{text} \n" for topic, text in some[name]))
    settings = {"topics": "R8", "validation": 4, "vocabulary": None, "least": 2, "longest": None, "seed": 0} | changes
    reuters = Reuters("reuters", "unused", **settings)
    read = reuters.arrays(paths)
    monkeypatch.setattr(Reuters, "read", lambda self, local: read)
    return reuters.open()


def test_the_topic_is_asked_at_the_last_word_and_the_vocabulary_is_that_of_what_trains(tmp_path, monkeypatch):
    data = made(tmp_path, monkeypatch)
    # "stake" and "buys" occur once in the three articles that train, and more often in the one that validates.
    assert data.words == ["<unk>", "net", "shr"] and data.topics == ["acq", "earn"]
    [(inputs, targets, _)] = data.parts["validation"]
    assert inputs.tolist() == [0, 0, 0, 0] and targets.tolist() == [2, 2, 2, 0]
    assert [one.inputs.tolist() for one in data.parts["train"]] == [[1, 1, 2], [0, 1, 0], [2, 1, 0]]
    assert [one.targets[-1] for one in data.parts["train"]] == [1, 0, 1]
    assert list(data.texts("test")) == [("<unk> <unk> net", "acq")]


def test_settings_shorten_the_vocabulary_and_the_articles_and_choose_the_topics(tmp_path, monkeypatch):
    data = made(tmp_path, monkeypatch, topics="R52", vocabulary=3, least=1, longest=2)
    assert data.words == ["<unk>", "net", "shr"] and data.topics == ["acq", "earn", "tin"]
    assert [one.inputs.tolist() for one in data.parts["train"]] == [[1, 1], [0, 1], [2, 1], [0, 0]]
    assert [one.targets.tolist() for one in data.parts["train"]] == [[3, 1], [3, 0], [3, 1], [3, 2]]


def test_articles_are_written_with_their_topics(tmp_path, monkeypatch):
    class Always:
        training, device = False, torch.device("cpu")
        eval = train = lambda self, mode=True: self

        def start(self, batch):
            return ()

        def __call__(self, x, state):
            return torch.tensor([0.0, 1.0]).expand(*x.shape, 2), state

    data = made(tmp_path, monkeypatch)
    text = "".join(data.write(Always(), "", 0.0, 9, torch.Generator()))
    assert text == "read    <unk> <unk> net\nanswer  earn\nright   acq\n\n"


@pytest.mark.parametrize("content", ["", HEAD, HEAD + "earn\n", HEAD + "earn\t \n", "a\tb\nd\tstring\n\nearn\tnet\n"])
def test_what_holds_no_articles_is_refused(tmp_path, content):
    (tmp_path / "a.tab").write_text(content)
    with pytest.raises(CorpusError, match="^a.tab holds no articles: "):
        read_articles(tmp_path / "a.tab")


def test_words_are_numbered_by_their_frequency(tmp_path, monkeypatch):
    data = made(tmp_path, monkeypatch, least=1)
    counts = np.bincount(np.concatenate([one.inputs for one in data.parts["train"]]))[1:]
    assert (np.diff(counts) <= 0).all() and counts.tolist() == [4, 2, 1, 1, 1]
