"""Contiguous text in three parts. tests/datasets/test_contiguous.py has its windows, tests/probes its completions."""

import math
import time

import numpy as np
import pytest
import torch

from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets import text as texts
from pipeline.datasets.data import load_data
from pipeline.datasets.space import Symbols
from pipeline.datasets.text import Text
from tests.conftest import composed, prepared_text, words

V = 7


def text_of(symbols, kind="characters", **parts):
    parts = {"train": symbols, "validation": symbols[:40], "test": symbols} | parts
    card = {"corpus": "made", "split": "80-10-10", "counts": {name: len(part) for name, part in parts.items()}}
    return Text(Prepared(parts, Vocabulary(kind, list(range(97, 97 + V))), card, ("King",)))


def random_text(length, unknown=False):
    return np.random.default_rng(length).integers(0, V + unknown, length).astype(np.uint8)


def test_it_reads_and_answers_symbols():
    found = text_of(random_text(300))
    assert found.reads == found.answers == Symbols(V, "char") and found.given == () and found.prompts == ("King",)
    assert text_of(random_text(300), "bytes").reads == Symbols(V, "byte") and found.judged_on == "test"
    assert found.foretells and found.contiguous
    batch = found.training(4, 10).at(0)
    assert batch.inputs.shape == batch.targets.shape == (10, 4) and batch.inputs.dtype == torch.int64
    assert (batch.inputs[1:] == batch.targets[:-1]).all() and batch.count == 40 and not batch.given
    assert found.training(4, 10).nothing == pytest.approx(math.log(V), rel=1e-15)
    assert found.training(4, 10).scale == found.training(4, 10).nothing
    alike = texts.TextWindows(np.zeros(50, np.uint8), 1, 4, 10)  # one symbol, of which there is nothing to know
    assert (alike.nothing, alike.scale) == (0, 1)


@pytest.mark.parametrize("kind", ["test", "validation"])
@pytest.mark.parametrize("most", [None, 33])
@pytest.mark.parametrize("unknown", [False, True])
def test_every_known_target_of_a_held_out_part_is_asked_once(monkeypatch, kind, most, unknown):
    monkeypatch.setattr(texts.Text, "context", 10)
    monkeypatch.setattr(texts, "LENGTH", 30)
    symbols = random_text(900, unknown)
    whole = {"test": symbols, "validation": symbols[:40]}[kind][:most]
    batches = list(text_of(symbols).held_out(kind, most))
    if most is None and kind == "test":
        assert batches[0].inputs.shape[1] > 1
    asked = torch.cat([batch.targets.flatten() for batch in batches])
    asked = asked[asked != V]
    assert sum(batch.count for batch in batches) == len(asked) == (whole[1:] != V).sum()
    assert np.array_equal(np.bincount(asked, minlength=V), np.bincount(whole[1:], minlength=V + 1)[:V])
    assert [batch.carried for batch in batches] == [False] + [True] * (len(batches) - 1)
    # The first stream is asked from its first target on.
    targets = np.concatenate([batch.targets[:, 0].numpy() for batch in batches])
    asked_first = np.flatnonzero(targets != V)[-1] + 1
    assert (targets[:asked_first] == whole[1 : asked_first + 1]).all() and asked_first > 20


def test_batches_of_held_out_parts_are_as_short_as_a_vocabulary_is_large(monkeypatch):
    monkeypatch.setattr(texts.Text, "context", 10)
    found = text_of(random_text(900))
    whole = list(found.held_out("test"))
    monkeypatch.setattr(texts, "PREDICTED", texts.STREAMS * V * 3 + 1)
    short = list(found.held_out("test"))
    assert max(len(batch.inputs) for batch in short) == 3 and len(whole) == 1
    for name in ("inputs", "targets"):
        assert torch.equal(*(torch.cat([getattr(one, name) for one in some]) for some in (whole, short)))


@pytest.mark.parametrize(
    "elements, batch, length", [(2, 1, 1), (150, 1, 149), (1500, 1, 200), (20_000, 16, 200), (10**7, 512, 200)]
)
def test_what_a_trainer_leaves_open_fills_windows(elements, batch, length):
    found = text_of(np.zeros(elements, np.uint8))
    assert found.shape(None, None) == (batch, length) and found.shape(3, 5) == (3, 5)
    assert len(found.training(batch, length)) >= min(5, (elements - 1) // (batch * length))


def test_unknown_symbols_of_a_prompt_are_named():
    found = text_of(random_text(300))
    assert found.check_prompt("") is None and found.check_prompt("abcg") is None
    assert found.check_prompt("aZbhZ") == "made has never seen 'Zh': read as unknown"
    in_bytes = text_of(random_text(300), "bytes")
    assert in_bytes.check_prompt("aébé") == "made has never seen 'é': read as unknown"


def test_large_vocabularies_cost_as_many_steps_as_symbols():
    """A quadratic one took minutes: each of 60,000 symbols looked up in a list made anew of all."""
    vocabulary = Vocabulary("characters", list(range(0x10000, 0x10000 + 60_000)))
    found = text_of(random_text(300))
    found.vocabulary = vocabulary
    began = time.process_time()
    spell = vocabulary.speller()
    assert [spell(0), spell(59_999)] == ["\U00010000", chr(0x10000 + 59_999)]
    assert found.check_prompt(vocabulary.decode(range(60_000)) + "a") == "made has never seen 'a': read as unknown"
    assert time.process_time() - began < 2


def test_a_prepared_corpus_opens_as_it(tmp_path):
    cfg = composed(*prepared_text(tmp_path, words(400)))
    data, copy = load_data(cfg.data), load_data(cfg.data, tmp_path / "local")
    assert type(data) is Text and data.prompts == tuple(cfg.data.prompts) and isinstance(data.parts["train"], np.memmap)
    assert copy.card == data.card and list((tmp_path / "local").iterdir())
    for part in ("train", "validation", "test"):
        assert np.array_equal(copy.parts[part], data.parts[part])
    assert str(tmp_path / "local") in str(copy.parts["test"].filename)
