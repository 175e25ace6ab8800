"""The laboratory from Python."""

import math
import subprocess
import sys
import warnings

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from pipeline.api import Refusal, Run, open_run, prepare, train
from pipeline.sample import sample
from tests.conftest import ROOT, composed, words

STEPS = ["trainer.steps=4", "trainer.record_every=2", "trainer.validate_every=4"]


@pytest.fixture
def overrides(tmp_path) -> list[str]:
    """Of a run of seconds on a text that has not been fetched."""
    (tmp_path / "text.txt").write_text(words(4000))
    folders = [f"paths.{name}={tmp_path}/{name}" for name in ("raw", "prepared", "runs", "results")]
    return ["data=text", f"data.path={tmp_path}/text.txt", *folders, "scale=smoke", "tracking.uri=null", *STEPS]


def test_a_run_is_trained_once_opened_by_its_name_and_says_its_losses(overrides, tmp_path, capsys):
    prepare(*overrides)
    run = train("model=gru", "seed=3", *overrides)
    losses = run.losses()
    assert list(losses.index) == [2, 4] and {"train", "smoothed", "seconds", "rate"} <= set(losses.columns)
    assert math.isnan(losses.validation[2]) and losses.validation[4] == run.directory.facts["validation"]
    assert "starts: 4 steps" in capsys.readouterr().out
    again = train("model=gru", "seed=3", *overrides)
    assert "has finished already" in capsys.readouterr().out and again.directory.path == run.directory.path
    assert again.losses().equals(losses) and repr(again) == f"<Run {run.directory.path}, finished>"
    opened = open_run("gru", tmp_path / "runs")
    assert opened.losses().equals(losses) and opened.config == run.config
    assert Run.of(composed("model=lstm", *overrides)).losses().empty


def test_it_writes_what_the_verb_writes_and_expects_what_its_network_does(overrides, capsys):
    prepare(*overrides)
    run = train("model=lstm", "model.layers=2", *overrides)
    capsys.readouterr()
    sample(str(run.directory.path), "the king", 20, 0.7, 5, "")
    assert capsys.readouterr().out == run.sample("the king", 20, 0.7, 5) + "\n"
    data, network, text = run.data, run.network, "the king" * 200  # longer than what is read at a time
    x = torch.tensor(data.vocabulary.encode(text).astype("int64"))[:, None]
    with torch.no_grad():
        z, (h, _) = network(x, network.start(1))
        layers, _ = network.activities(x, network.start(1))
    p = run.probabilities(text)
    assert list(p) == sorted(p, key=p.get, reverse=True) and set(p) == set(data.vocabulary.decode(range(len(p))))
    expected = torch.softmax(z[-1, 0], dim=0)[data.vocabulary.encode("k").item()].item()
    assert p["k"] == pytest.approx(expected, rel=1e-5) and sum(p.values()) == pytest.approx(1)
    states = run.states(text)
    assert [part.shape for part in states] == [(len(text), 16)] * 2
    for ours, theirs, last in zip(states, layers, h, strict=True):
        torch.testing.assert_close(ours, theirs[:, 0])
        torch.testing.assert_close(ours[-1], last[0])


def test_the_four_letters_of_the_lecture(tmp_path):
    run = train("data=hello", "model=rnn", "scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}", *STEPS)
    p = run.probabilities("hel")
    assert set(p) == set("helo") and sum(p.values()) == pytest.approx(1)
    assert run.states("hell")[0].shape == (4, run.config.model.hidden)
    for text in ("", "help"):
        with pytest.raises(Refusal, match=f"'{text}': data=hello knows h, e, l and o: take those"):
            run.probabilities(text)


@pytest.mark.parametrize(
    "words, said",
    {
        "model=lstmm": "model=lstmm: there is no such choice: did you mean lstm",
        "model.hiden=3": "model.hiden=3: there is no such setting: did you mean model.hidden",
        "model.hidden=abc": "model.hidden=abc: ",
        "model=lstm,gru": "model=lstm,gru: several values: take one",
        "study=words": "study=words is a sweep of several runs",
        "trainer.devices=2": "trainer.devices=2 x nodes=1: one process trains a run from Python",
        "model": "model: cannot be read .no value.",
    }.items(),
)
def test_what_cannot_be_is_refused_as_on_the_command_line(words, said):
    with pytest.raises(Refusal, match=said) as found:
        train(words)
    assert "\n" not in str(found.value) and not GlobalHydra.instance().is_initialized()


def test_what_a_run_cannot_say_is_refused_and_unknown_symbols_are_named(overrides, tmp_path):
    prepare(*overrides)
    run = train("model=ngram", "optimizer=count", *overrides[:-3])
    with pytest.raises(Refusal, match="model=ngram has no hidden units"):
        run.states("the")
    assert sum(run.probabilities("the").values()) == pytest.approx(1)
    with pytest.warns(UserWarning, match="text has never seen 'Ω': read as unknown"):
        assert run.sample("Ω", 5).startswith("Ω")
    with pytest.raises(Refusal, match="length=-1: take a number"):
        run.write(length=-1)
    sine = train("data=sine", "data.length=2000", "scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}", *STEPS)
    for ask in (sine.probabilities, sine.states):
        with pytest.raises(Refusal, match="'To be': sine is not read as a text: take data=text"):
            ask("To be")
    with warnings.catch_warnings(action="error"):
        assert len(sine.sample(length=3).split()) > 3


def test_bytes_and_words_have_names(tmp_path):
    from pipeline.corpora.vocabulary import Vocabulary, Words

    names = Vocabulary("bytes", [10, 65, 195, 233]).names
    assert names == ["\n", "A", r"\xc3", r"\xe9"] and Words(["<unk>", "the"], "spaces").names == ["<unk>", "the"]


def test_nothing_heavy_is_imported_before_it_is_needed():
    heavy = ("torch", "mlflow", "pandas")
    code = f"import sys, pipeline, pipeline.api; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
