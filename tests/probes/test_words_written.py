"""Words, numbers, dates and names counted by hand."""

import pytest

from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.text import Text
from pipeline.probes import words_written
from pipeline.probes.words_written import WordsWritten, counted, words_of_training

TRAINING = "The king's fool\nsays no-one is here, and  lord X dies; été. 2 kings"
WROTE = (
    "The KING'S foool met the lord, John Smith of York, on 3 May 1602 and April 23. The foool, 1,204 years old, "
    "says été b2b 2001-02-03"
)


def data() -> Text:
    letters = sorted(set(map(ord, TRAINING + WROTE)))
    vocabulary = Vocabulary("characters", letters)
    parts = {"train": vocabulary.encode(TRAINING), "test": vocabulary.encode(WROTE), "validation": []}
    card = {"corpus": "made", "counts": {part: len(symbols) for part, symbols in parts.items()}}
    return Text(Prepared(parts, vocabulary, card, ("x",)))


@pytest.mark.parametrize("piece", [5, 10**6])
def test_the_words_of_training_are_those_of_the_whole_text(monkeypatch, piece):
    monkeypatch.setattr(words_written, "PIECE", piece)
    expected = "the king's fool says no-one is here and lord x dies été kings"
    assert words_of_training(data()) == set(expected.split())


def test_what_is_written_is_counted_as_by_hand():
    found = counted(WROTE, words_of_training(data()))
    # the king's foool met the lord john smith of york on may and april the foool years old says été, and nothing of b2b
    assert found["words"] == 20 and found["real_words"] == pytest.approx(8 / 20)
    assert found["invented"][0] == "foool" and set(found["invented"]) == set(
        "foool met john smith of york on may april years old".split()
    )
    kinds = found["kinds"]
    assert kinds["names"]["examples"] == ["John Smith", "York", "April"]
    assert kinds["dates"]["examples"] == ["3 May", "April 23", "2001-02-03"]
    assert kinds["numbers"]["examples"] == ["3", "1602", "23", "1,204", "2001", "02", "03"]
    assert kinds["dates"]["rate"] == 1000 * 3 / 20
    assert counted("12 ...", set()) | {"kinds": 0} == {"words": 0, "real_words": None, "invented": [], "kinds": 0}


def test_a_model_is_measured_beside_held_out_text_and_shown(monkeypatch):
    text, probe = data(), WordsWritten(60, 1.0, 17)
    monkeypatch.setattr(text, "write", lambda *of: iter("the <fol> "))
    found = probe.measure(None, text, 0)
    assert found["real_words"] == 0.5 and found["written"]["invented"] == ["fol"]
    assert found["real"]["words"] == 3 and found["real"]["real_words"] == pytest.approx(2 / 3)  # of "The KING'S foool "
    row = {"label": "<gru>", "data": "made", "split": "80-10-10", "units": {}, "runs": [{"found": found}]}
    table, examples = probe.show([row])
    assert "&lt;gru&gt;" in table.html and "<td>50.0%</td>" in table.html and "<td>fol</td>" in table.html
    assert "made, held-out text" in table.html and examples.long
