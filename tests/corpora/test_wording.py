"""Words of a text against the same thing said in plain Python, and what NLTK says of tokens."""

import collections
import math
import random

import numpy as np
import pytest

from pipeline.corpora import tokens
from pipeline.corpora.corpus import CorpusError, corpus_of
from pipeline.corpora.preparation import prepare
from pipeline.corpora.prepared import load
from pipeline.corpora.sources import fetch
from pipeline.corpora.tokens import cut_by, words
from pipeline.corpora.vocabulary import Words
from pipeline.corpora.wording import CODES, Spelling
from pipeline.datasets.text import Text
from tests.conftest import composed

LETTERS = "aébcx"


def made_up(count: int, seed: int = 1) -> str:
    """Lines of words, few of them frequent; some empty, with spaces that say nothing."""
    draw = random.Random(seed)
    kinds = ["".join(draw.choices(LETTERS, k=draw.randint(1, 5))) for _ in range(60)]
    lines = []
    for _ in range(count // 6):
        chosen = [kinds[min(59, int(draw.expovariate(0.15)))] for _ in range(draw.choice([0, 3, 6, 9]))]
        lines.append("  ".join(chosen) + draw.choice(["", " "]))
    return "\n".join(lines)


@pytest.mark.parametrize("vocabulary, least", [(None, 2), (12, 1), (None, 1)])
def test_words_are_numbered_by_frequency_and_the_rest_is_spelled(fetched, monkeypatch, vocabulary, least):
    monkeypatch.setattr(tokens, "AT_ONCE", 50)
    text = made_up(1500)
    corpus, raw = fetched(text.encode(), symbols="words", tokens="spaces", vocabulary=vocabulary, least=least)
    card = prepare(corpus, raw)
    prepared = load(corpus.directory)

    every = [word for line in text.split("\n") for word in [*line.split(), "\n"]]
    ends = [0, len(every) * 80 // 100, len(every) * 90 // 100, len(every)]
    parts = dict(zip(("train", "validation", "test"), (every[a:b] for a, b in zip(ends, ends[1:]))))
    counts = collections.Counter(parts["train"])  # in the order of first occurrence, which most_common keeps
    known = [word for word, count in counts.most_common() if count >= least]
    known = known[: None if vocabulary is None else vocabulary - 1]
    assert prepared.vocabulary.words == ["<unk>", *known]
    rare = collections.Counter()
    for word in parts["train"]:
        if word not in known:
            rare.update([*word, "end"])
    for part, expected in parts.items():
        assert prepared.parts[part].tolist() == [known.index(word) + 1 if word in known else 0 for word in expected]
        written = " ".join(expected).replace(" \n", "\n").replace("\n ", "\n")
        spaces = 1 if expected[-1] != "\n" else 0  # the space or break after the part's last word is its own
        assert card["characters"][part] == len(written) + spaces
        outside = [word for word in expected if word not in known]
        assert card["outside"][part] == len(outside)
        if rare:
            total = sum(rare.values()) + (len(rare) + 1) / 2
            letters = [one for word in outside for one in [*word, "end"]]
            nats = -sum(math.log((rare[one] + 0.5) / total) for one in letters if one in rare)
            nats += sum(one not in rare for one in letters) * (math.log(CODES) - math.log(0.5 / total))
            assert card["spelling"][part] == pytest.approx(nats)
    data = Text(prepared)
    loss, held = 2.0, parts["validation"]
    measured = data.measured(loss, "validation")
    assert measured["perplexity"] == pytest.approx(math.exp(2))
    bits = (loss * len(held) + card["spelling"]["validation"]) / math.log(2) / card["characters"]["validation"]
    assert measured["per_character"] == pytest.approx(bits)


def test_spelling_is_a_distribution_over_words():
    """The probabilities of all words up to a length, and of letters that go on, sum to 1."""
    spelling = Spelling({"ab": 3, "b": 1})
    letter = {one: math.exp(-nats) for one, nats in spelling.nats.items()}
    unseen = CODES * math.exp(-spelling.other)
    assert sum(letter.values()) + unseen == pytest.approx(1)
    assert letter["b"] == pytest.approx(4.5 / 13) and letter[""] == pytest.approx(4.5 / 13)
    assert spelling.of("ba") == pytest.approx(-math.log(letter["b"] * letter["a"] * letter[""]))


def test_words_and_characters_of_one_text_are_the_same_text(fetched):
    """Character models of data.tokens read what the words make up, sign for sign."""
    text = "He said, \"I don't know (yet). It's late.\"\n\nMr. Smith paid $3.50.\n"
    corpus, raw = fetched(text.encode() * 20, symbols="words", least=1)
    prepare(corpus, raw)
    by_words = load(corpus.directory)
    corpus, raw = fetched(text.encode() * 20, tokens="treebank")
    prepare(corpus, raw)
    by_characters = load(corpus.directory)
    both = [
        one.vocabulary.decode(np.concatenate([one.parts[part] for part in ("train", "validation", "test")]))
        for one in (by_words, by_characters)
    ]
    assert both[0] == both[1] and both[0].startswith(
        "He said , \" I do n't know ( yet ) . It 's late . \"\n\nMr. Smith"
    )
    data = Text(by_characters)
    assert data.measured(1.0, "test")["per_character"] == pytest.approx(1 / math.log(2))


def test_a_very_long_line_is_cut_between_words(fetched, monkeypatch):
    """text8 is one line; by words or by their characters, in pieces or not, it is the same."""
    text = "a\n" + " ".join(random.Random(1).choices(["a", "bc", "def", "ghij"], k=2000))
    found = []
    for at_once, long in ((1 << 16, 1 << 20), (50, 100)):
        monkeypatch.setattr(tokens, "AT_ONCE", at_once)
        monkeypatch.setattr(tokens, "LONG", long)
        monkeypatch.setattr("pipeline.corpora.reading.PIECE", 64)
        monkeypatch.setattr("pipeline.corpora.reading.BLOCK", 64)
        for choices in ({"symbols": "words", "tokens": "spaces"}, {"tokens": "spaces"}):
            corpus, raw = fetched(text.encode(), **choices)
            prepare(corpus, raw)
            one = load(corpus.directory)
            found.append(one.vocabulary.decode(np.concatenate([one.parts[part] for part in one.parts])))
    assert found == [text + "\n"] * 4


def test_what_is_written_word_by_word_are_the_words_of_a_text():
    vocabulary = Words(["<unk>", "\n", "a", "king", "."], "spaces")
    text = "a king .\n\na <unk> king\n"
    indices = vocabulary.encode(text)
    assert indices.tolist() == [2, 3, 4, 1, 1, 2, 0, 3, 1] and vocabulary.decode(indices) == text
    assert "".join(map(vocabulary.speller(), indices)) == f" {text}"
    assert vocabulary.unknown_in("a queen , a king") == "'queen', ','" and vocabulary.unknown_in(text) is None


def test_tokens_are_those_of_the_treebank():
    nltk = pytest.importorskip("nltk.tokenize.treebank").TreebankWordTokenizer()
    line = "They'll save and can't invest more (than $10,000), he's said."
    assert cut_by("treebank")(line) == nltk.tokenize(line)
    several = 'It ends. "So it does," said J. R. Smith, i.e. he.\nIt\'s 5 p.m. now.'
    assert cut_by("treebank")(several) == [
        *["It", "ends", ".", '"', "So", "it", "does", ",", '"', "said", "J.", "R.", "Smith", ",", "i.e.", "he", "."],
        *["\n", "It", "'s", "5", "p.m.", "now", "."],
    ]
    cut = [word for piece in words(iter(several), "treebank") for word in piece]
    assert cut == [*cut_by("treebank")(several), "\n"]


def test_published_parts_are_the_parts(tmp_path):
    """Mikolov's three files of the Penn Treebank; the text's own <unk> is the vocabulary's, and has no letters to pay
    for."""
    parts = {"train": " no it was <unk> \n it was n't \n", "valid": " was it new \n", "test": " it <unk> \n"}
    for name, content in parts.items():
        (tmp_path / f"ptb.{name}.txt").write_text(content)
    choice = composed("data=penn_treebank", f"data.path={tmp_path}", f"paths.prepared={tmp_path}/prepared").data
    corpus = corpus_of(choice)
    fetch(corpus, tmp_path / "raw", None)
    card = prepare(corpus, tmp_path / "raw")
    prepared = load(corpus.directory)
    vocabulary = ["<unk>", "it", "was", "\n", "no", "n't"]
    assert prepared.vocabulary.words == vocabulary
    lines = {"train": "no it was <unk> \n it was n't \n", "validation": "was it <unk> \n", "test": "it <unk> \n"}
    for part, line in lines.items():
        assert prepared.parts[part].tolist() == [vocabulary.index(one) for one in line.split(" ")]
    assert card["outside"] == {"train": 0, "validation": 1, "test": 0} and card["spelling"]["test"] == 0
    (tmp_path / "ptb.valid.txt").unlink()
    with pytest.raises(CorpusError, match=r"it has no ptb.valid.txt: name a folder with .* \(data.path\)"):
        fetch(corpus, tmp_path / "raw", None)


def test_a_text_of_rare_words_and_parts_that_are_not_published_are_refused(fetched, text):
    corpus, raw = fetched(" ".join(map(str, range(1000))).encode(), symbols="words", tokens="spaces")
    with pytest.raises(CorpusError, match="no word that occurs data.least=2 times in the training part: take a longer"):
        prepare(corpus, raw)
    for vocabulary in (1, 2):
        reason = f"data.vocabulary={vocabulary}: <unk> is one of them, and a line break may be: take 3 or more"
        with pytest.raises(CorpusError, match=reason):
            text("x", symbols="words", vocabulary=vocabulary)
    corpus, raw = fetched(b"king " * 400 + b"fool " * 100, symbols="words", tokens="spaces")
    reason = "text has 400 words in the training part, all of them 'king': there is nothing to learn: take another text"
    with pytest.raises(CorpusError, match=f"^{reason}$"):
        prepare(corpus, raw)
    with pytest.raises(CorpusError, match="data.split=published: text is published as a whole: take 80-10-10"):
        text("x", split="published")
    with pytest.raises(CorpusError, match="data.tokens=spaces: bytes are read as they are: take data.symbols=charac"):
        text("x", symbols="bytes", tokens="spaces")
