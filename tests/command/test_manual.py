"""`--help` of every verb."""

import importlib
import inspect
import re
import shlex
import sys

import pytest

from pipeline.command import verb as verbs
from pipeline.command.manual import COLUMNS
from pipeline.completion import VERBS
from tests.conftest import composed

OWN = {"sample", "logs", "completion"}  # which compose nothing


@pytest.fixture
def helped(monkeypatch, capsys):
    """helped(verb, words...) prints what `lab VERB --help WORDS` does."""
    monkeypatch.setattr(verbs, "take_interrupts", lambda: None)

    def helped(verb: str, *words: str) -> str:
        module = importlib.import_module(f"{VERBS[verb][0]}.{verb}")
        monkeypatch.setattr(sys, "argv", [f"{verb}.py", "--help", *words])
        module.main()
        return capsys.readouterr().out

    return helped


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_says_what_it_does_shows_examples_that_can_be_had_and_fits_a_terminal(helped, verb):
    said = helped(verb)
    module = importlib.import_module(f"{VERBS[verb][0]}.{verb}")
    assert said.split()[:4] == inspect.getdoc(module).split()[:4]
    assert all(len(line) <= COLUMNS for line in said.splitlines() if verb not in OWN)
    examples = re.findall(rf"^  lab {verb}\b(.*)$", said, re.MULTILINE)
    assert len([one for one in examples if "--help" not in one]) >= 2 or verb in OWN
    for words in map(shlex.split, examples) if verb not in OWN else ():
        launcher = ["hydra/launcher=slurm"] if verb == "submit" else []
        composed(*launcher, *(word for word in words if word[0] != "-" and "," not in word and "--help" not in words))


def test_what_is_wanted_most_comes_first_and_the_rest_on_demand(helped):
    said = helped("train")
    shown = re.findall(r"^  (\S+)=", said.split("Settings")[1], re.MULTILINE)
    assert len(shown) == 15 and shown[:3] == ["model", "data", "optimizer"]
    assert (
        "  trainer.batch=50 " in said and "sequences read side by side" in said and "trainer.sample.every" not in said
    )
    assert "trainer.sample.every=200" in helped("train", "all") and "[auto, fused, library" in helped("train", "all")
    of_choice = helped("train", "model=hmm", "model.states=7")
    assert re.search(r"model\.states=7 +N: ", of_choice) and "optimizer=em" in of_choice
    assert "trainer.sample.every" not in of_choice
    assert re.search(r"^  gru +GRU of Cho et al\. 2014", helped("train", "model"), re.MULTILINE)
    assert re.search(r"^  binary_addition +Does a network that has learned to add", helped("train", "study"), re.M)
