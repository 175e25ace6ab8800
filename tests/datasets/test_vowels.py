"""Utterances of the Japanese vowels, a small file of them and the real one."""

import numpy as np
import pytest

from pipeline.corpora.corpus import CorpusError
from pipeline.datasets.space import Reals, Symbols
from pipeline.datasets.vowels import Vowels, read_utterances

HEAD = "#about\n@problemName JapaneseVowels\n@data\n"


def utterance(first, length, speaker):
    """Coefficient d of frame t is `first` + t + d / 100."""
    return ":".join(",".join(f"{first + t + d / 100:.2f}" for t in range(length)) for d in range(12)) + f":{speaker}"


def made(tmp_path, monkeypatch, **changes):
    """Two training utterances of each speaker, of which every third validates, and one that tests."""
    lines = {
        "TRAIN": [utterance(10 * k, 3 + k % 4, k // 2 + 1) for k in range(18)],
        "TEST": [utterance(-5, 4, speaker) for speaker in range(1, 10)],
    }
    paths = [tmp_path / f"{part}.ts" for part in lines]
    for path, some in zip(paths, lines.values()):
        path.write_text(HEAD + "\n".join(some) + "\n")
    settings = {"task": "foretell", "validation": 3, "standardize": False, "seed": 0} | changes
    vowels = Vowels("vowels", "unused", **settings)
    arrays = vowels.arrays(paths)
    monkeypatch.setattr(Vowels, "read", lambda self, local: arrays)
    return vowels.open()


def test_the_next_frame_is_asked_at_all_frames_but_the_last(tmp_path, monkeypatch):
    data = made(tmp_path, monkeypatch)
    assert (data.reads, data.answers, data.foretells) == (Reals(12), Reals(12), True)
    assert {part: len(some) for part, some in data.parts.items()} == {"train": 12, "validation": 6, "test": 9}
    for some in data.parts.values():
        for one in some:
            assert (one.targets[:-1] == one.inputs[1:]).all() and np.isnan(one.targets[-1]).all()
    assert data.parts["validation"][1].inputs[:, 0].tolist() == [50, 51, 52, 53]  # utterance 5, counted from 0
    assert data.parts["train"][2].inputs[1] == pytest.approx(31 + np.arange(12) / 100)


def test_the_speaker_is_asked_at_the_last_frame_alone(tmp_path, monkeypatch):
    data = made(tmp_path, monkeypatch, task="speaker")
    assert (data.answers, data.foretells) == (Symbols(9, "speaker"), False)
    assert [one.targets[-1] for one in data.parts["train"]] == [k // 2 for k in range(18) if k % 3 != 2]
    assert [one.targets[-1] for one in data.parts["test"]] == list(range(9))
    assert all((one.targets[:-1] == 9).all() for some in data.parts.values() for one in some)


def test_standardized_are_the_frames_that_train(tmp_path, monkeypatch):
    plain, data = made(tmp_path, monkeypatch), made(tmp_path, monkeypatch, standardize=True)
    every = np.concatenate([one.inputs for one in data.parts["train"]])
    assert every.mean(0) == pytest.approx(np.zeros(12), abs=1e-12) and every.std(0) == pytest.approx(np.ones(12))
    train = np.concatenate([one.inputs for one in plain.parts["train"]])
    expected = (plain.parts["test"][3].inputs - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(data.parts["test"][3].inputs, expected)


@pytest.mark.parametrize(
    "lines", ["", utterance(0, 3, 10), utterance(0, 3, 1)[5:], utterance(0, 3, 1).replace("0.01", "x"), "1,2:1"]
)
def test_what_holds_no_utterances_is_refused(tmp_path, lines):
    (tmp_path / "a.ts").write_text((HEAD if lines else "") + lines + "\n")
    with pytest.raises(CorpusError, match="^a.ts holds no utterances: "):
        read_utterances(tmp_path / "a.ts")
