"""What no run can do is said before any work."""

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.data import load_data
from pipeline.datasets.text import Text
from pipeline.runs.settling import settle
from tests.conftest import composed, prepared_text, trained

V = 3


def text_of(**parts):
    """A text of "abc" a hundred times, but for some parts; V is unknown."""
    parts = {part: np.tile(np.arange(V, dtype=np.uint8), 100) for part in ("train", "validation", "test")} | parts
    card = {"corpus": "made", "split": "80-10-10", "counts": {name: len(part) for name, part in parts.items()}}
    return Text(Prepared(parts, Vocabulary("characters", [97, 98, 99]), card))


UNKNOWN = np.full(50, V, np.uint8)
ONE = np.concatenate([[0], UNKNOWN, [1]]).astype(np.uint8)  # one known target, at the end


@pytest.mark.parametrize(
    "parts, overrides, words",
    [
        ({"validation": UNKNOWN}, [], "nothing is asked in its validation part"),
        ({"test": UNKNOWN}, [], "nothing is asked in its test part"),
        ({"test": UNKNOWN[:1]}, [], "nothing is asked in its test part"),
        ({"validation": ONE}, ["trainer.validation_symbols=40"], "in the first 40 elements of its validation part"),
    ],
)
def test_data_on_which_no_model_can_be_judged_are_refused(parts, overrides, words):
    with pytest.raises(Refusal, match=f"^data=made: .*{words}, .*: take more data"):
        settle(composed("scale=smoke", *overrides), text_of(**parts))
    settle(composed("scale=smoke", "trainer.validation_symbols=null"), text_of(validation=ONE))


@pytest.mark.parametrize("model", ["lstm", "delay_taps", "feedforward_lm", "ngram", "hmm", "echo_state"])
def test_the_shortest_texts_are_learned(tmp_path, model):
    overrides = [*prepared_text(tmp_path, "abcab cab abc bca\nabcab ca"), "scale=smoke", "tracking.uri=null"]
    overrides += [
        f"model={model}",
        "trainer.batch=1",
        "trainer.length=2",
        *["model.washout=0"] * (model == "echo_state"),
    ]
    run = trained(*overrides)
    assert run.finished and 0 <= run.facts["validation"] < 10


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["model=hmm", "readout=adaptive"], "readout=adaptive: model=hmm has no readout to choose: leave it out"),
        (["model=delay_taps", "readout=tied"], "readout=tied: model=delay_taps has no readout"),
        (["model=ngram", "schedule=cosine"], "schedule=cosine: model=ngram has no schedule"),
        (["model=echo_state", "initialization=gaussian"], "initialization=gaussian: model=echo_state has no init"),
    ],
)
def test_what_a_model_would_ignore_is_refused(overrides, words):
    with pytest.raises(Refusal, match=f"^{words}"):
        settle(composed(*overrides, "scale=smoke"), text_of())


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=hmm", "readout=linear"],
        ["model=lstm", "readout=sampled"],
        ["model=delay_taps", "initialization=gaussian"],
    ],
)
def test_what_a_model_has_is_not(overrides):
    settle(composed(*overrides, "scale=smoke"), text_of())


@pytest.mark.parametrize("washout, streams", [(319, 1), (80, 4)])
def test_a_washout_of_everything_is_refused_before_anything_is_written(tmp_path, washout, streams):
    overrides = ["data=mackey_glass", "data.length=400", "model=echo_state", "scale=smoke", "tracking.uri=null"]
    overrides += [f"trainer.batch={streams}", "trainer.length=20", f"paths.runs={tmp_path}"]
    with pytest.raises(
        Refusal, match=rf"^model\.washout={washout}: .* more than {-(-319 // streams)} steps.*take less"
    ):
        trained(*overrides, f"model.washout={washout}")
    assert not list(tmp_path.iterdir())
    assert trained(*overrides, f"model.washout={washout - 1}").finished
    assert load_data(composed(*overrides).data).training(streams, 20).reach == -(-319 // streams)
