"""`prepare` against the same thing said in plain Python: read, decode, replace, slice, sorted(set()), index."""

import codecs
import hashlib
import json
import random

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora import reading
from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.preparation import prepare
from pipeline.corpora.prepared import load
from pipeline.corpora.sources import fetch
from pipeline.corpora.tiny_shakespeare import TinyShakespeare
from pipeline.corpora.vocabulary import Vocabulary
from tests.corpora.conftest import TEXT

SPLITS = {"80-10-10": [80, 90, 100], "95-5": [95, 100], "90-10": [90, 100]}


def oracle(contents: list[bytes], symbols: str, split: str) -> dict:
    """Vocabulary, parts as lists of indices, and counts, in plain Python."""
    text, crlf, not_utf8 = [], 0, 0
    for content in contents:
        if symbols == "bytes":
            text += content
            continue
        escaped = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        crlf += escaped.count("\r\n")
        for character in escaped.replace("\r\n", "\n"):
            foreign = 0xDC80 <= ord(character) <= 0xDCFF
            not_utf8 += foreign
            text.append(chr(ord(character) - 0xDC00) if foreign else character)
    ends = [0] + [len(text) * percent // 100 for percent in SPLITS[split]]
    parts = [text[start:end] for start, end in zip(ends, ends[1:])]
    vocabulary = sorted(set(parts[0]))
    index = {symbol: i for i, symbol in enumerate(vocabulary)}
    return {
        "vocabulary": vocabulary,
        "crlf": crlf,
        "not_utf8": not_utf8,
        "parts": [[index.get(symbol, len(vocabulary)) for symbol in part] for part in parts],
    }


def check(fetched, *contents: bytes, symbols="characters", split="80-10-10"):
    """Prepares the contents and compares everything with the oracle; returns what was prepared."""
    corpus, raw = fetched(*contents, symbols=symbols, split=split)
    prepare(corpus, raw)
    prepared, expected = load(corpus.prepared), oracle(contents, symbols, split)
    names = ["train", "validation", "test"][: len(SPLITS[split])]
    size = len(expected["vocabulary"])
    for name, part in zip(names, expected["parts"]):
        array = prepared.parts[name]
        assert isinstance(array, np.memmap) and array.tolist() == part
        assert array.dtype == ("uint8" if size + 1 <= 256 else "uint16")
    listed = json.loads(open(f"{corpus.prepared}/vocabulary.json").read())
    assert listed == {"symbols": symbols, "vocabulary": expected["vocabulary"]}
    card = prepared.card
    assert card["vocabulary"] == len(prepared.vocabulary) == size
    assert card["counts"] == dict(zip(names, map(len, expected["parts"])))
    assert card["unknown"] == {name: part.count(size) for name, part in zip(names, expected["parts"])}
    assert (card["crlf"], card["not_utf8"]) == (expected["crlf"], expected["not_utf8"])
    assert card["raw"] == json.loads((raw / "text/card.json").read_text())
    assert len(card["fingerprint"]) == 64
    assert (card["corpus"], card["symbols"], card["split"]) == ("text", symbols, split)
    return prepared


@pytest.fixture(params=[1, 2, 3, 7, 1 << 18], ids=lambda size: f"pieces of {size}")
def sizes(request, monkeypatch):
    """Reads in pieces so small that every character, CRLF and mark is cut somewhere."""
    monkeypatch.setattr(reading, "PIECE", request.param)
    monkeypatch.setattr(reading, "BLOCK", request.param)


AWKWARD = ("\ufeffé\r\nab\r\r\n\n\r" * 9 + "日本語\U0001f600x\ufeff\r").encode()
AWKWARD += b"\xff\xe9\r\n\xe2\x82" + b"\xed\xa0\x80 tail\r"


@pytest.mark.parametrize("symbols", ["characters", "bytes"])
@pytest.mark.parametrize("split", SPLITS)
def test_awkward_text_in_pieces(fetched, sizes, symbols, split):
    check(
        fetched,
        AWKWARD,
        b"",
        b"\n\xef\xbb\xbfplain",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        "wörter\r\n".encode() * 5,
        symbols=symbols,
        split=split,
    )


def test_random_bytes(fetched, sizes):
    generator = random.Random(1)
    alphabet = [b"\r", b"\n", b"a", "é".encode(), "語".encode(), "\U0001f600".encode(), b"\xef\xbb\xbf"] * 4
    alphabet += [b"\xe2", b"\x80", b"\xff"]
    contents = [b"".join(generator.choices(alphabet, k=300)) for _ in range(5)]
    check(fetched, *contents)
    check(fetched, *contents, symbols="bytes")


@pytest.mark.parametrize("size, dtype", [(255, "uint8"), (256, "uint16"), (400, "uint16")])
def test_large_vocabulary(fetched, size, dtype):
    """V symbols and the unknown one: 255 are the most that fit uint8."""
    prepared = check(fetched, "".join(chr(300 + i) for i in range(size)).encode() * 10 + "新".encode())
    assert (
        len(prepared.vocabulary) == size
        and prepared.parts["test"].dtype == dtype
        and prepared.parts["test"][-1] == size
    )


def test_a_symbol_at_the_border_belongs_to_one_part(fetched):
    before = check(fetched, b"xy" * 39 + b"x" + b"b" + b"x" * 20)
    assert before.card["unknown"] == {"train": 0, "validation": 0, "test": 0}
    prepared = check(fetched, b"xy" * 40 + b"b" + b"x" * 19)
    assert prepared.card["unknown"] == {"train": 0, "validation": 1, "test": 0} and prepared.card["vocabulary"] == 2


def test_fingerprint_is_of_the_content(fetched, text, tmp_path):
    def fingerprint(content, **choices):
        return check(fetched, content, **choices).card["fingerprint"]

    content = b"To be, or not to be\n" * 20
    first = fingerprint(content)
    assert fingerprint(content) == first == fingerprint(content.replace(b"\n", b"\r\n"))
    others = [
        fingerprint(content[:-1] + b"!"),
        fingerprint(content[1:]),
        fingerprint(content.upper()),
        fingerprint(content, symbols="bytes"),
        fingerprint(content, split="90-10"),
    ]
    assert len({first, *others}) == 6


@pytest.mark.parametrize(
    "contents, split, reason",
    [
        ([b"", b"\xef\xbb\xbf"], "80-10-10", "the corpus text is empty: take a text with something in it"),
        (
            [b"abc"],
            "50-25-25",
            "text has 3 characters: too few for data.split=50-25-25, the train part would have 1 .*",
        ),
        ([b"a"], "95-5", "text has 1 characters: too few for data.split=95-5, the train part would have 0 of them: .*"),
    ],
)
def test_refusals_are_one_line(fetched, contents, split, reason):
    corpus, raw = fetched(*contents, split=split)
    with pytest.raises(Refusal, match=f"^{reason}$"):
        prepare(corpus, raw)


def test_nothing_or_something_else_fetched(fetched, text, tmp_path):
    with pytest.raises(CorpusError) as caught:
        prepare(text("x"), tmp_path / "raw")
    fetch_it = "run `python -m pipeline.fetch data=text data.path=x`"
    assert str(caught.value) == f"nothing fetched in {tmp_path}/raw/text: {fetch_it}"
    corpus, raw = fetched(b"abc" * 10)
    corpus.pattern = "*.md"
    with pytest.raises(CorpusError, match=r"^.*/raw/text holds .*asked for .*: run `python -m pipeline\.fetch .*`$"):
        prepare(corpus, raw)


@pytest.mark.parametrize(
    "choices, reason",
    [
        ({"symbols": "letters"}, "data.symbols=letters: take characters, bytes or words"),
        ({"split": "70-20"}, "data.split=70-20: take per cent of training, validation and test part, such as .*"),
        (
            {"encoding": "klingon"},
            "data.encoding='klingon': there is no such text encoding: take one such as utf-8, .*",
        ),
        ({"encoding": "hex"}, "data.encoding='hex': there is no such text encoding: .*"),
        ({"encoding": ""}, "data.encoding='': there is no such text encoding: .*"),
        ({"encoding": 437}, "data.encoding=437: there is no such text encoding: .*"),
        (
            {"encoding": "latin-1", "symbols": "bytes"},
            "data.encoding=latin-1: bytes are read as they are: take data.symbols=characters, or data.encoding=null",
        ),
    ],
)
def test_settings_that_no_corpus_has_are_refused(text, choices, reason):
    with pytest.raises(Refusal, match=f"^{reason}$"):
        text("x", **choices)


def test_a_text_of_one_symbol_has_nothing_to_learn(fetched, tmp_path):
    for content in (b"a" * 1000, b"a" * 800 + b"b" * 200):
        corpus, raw = fetched(content)
        reason = "text has 800 characters in the training part, all of them 'a': there is nothing to learn"
        with pytest.raises(CorpusError, match=f"^{reason}: take another text$"):
            prepare(corpus, raw)
        assert not (tmp_path / "prepared/text").exists()


@pytest.mark.parametrize(
    "content, unknown, part",
    [
        (b"ab" * 400 + b"cd" * 100, "100 of 100", "validation"),
        (b"ab" * 450 + b"cd" * 50, "100 of 100", "test"),
        (b"ab" * 400 + b"a" + b"c" * 99 + b"ab" * 50, "99 of 100", "validation"),  # the first is not asked
    ],
)
def test_a_part_of_unknown_symbols_is_refused(fetched, tmp_path, content, unknown, part):
    corpus, raw = fetched(content)
    with pytest.raises(CorpusError) as caught:
        prepare(corpus, raw)
    assert str(caught.value) == (
        f"text has {unknown} characters in the {part} part that the training part lacks, so that no model can be "
        "judged on it: take another data.split than 80-10-10, or a text that ends as it begins"
    )
    assert not (tmp_path / "prepared/text").exists()


def test_many_unknown_symbols_and_bytes_that_are_not_utf8_are_said(fetched, capsys):
    def said(content: bytes) -> str:
        prepare(*fetched(content))
        return capsys.readouterr().out.splitlines()[-1].partition("80-10-10")[2]

    assert said(b"ab" * 500) == ""
    assert (
        said(b"ab" * 499 + b"ac")
        == "; 1% of the test part unknown: symbols that the training part lacks, which are not asked"
    )
    assert said(b"ab" * 499 + b"b\xe9") == (
        "; 1 bytes that are not UTF-8, read as Latin-1; 1% of the test part unknown: symbols that the training part "
        "lacks, which are not asked"
    )
    assert said(b"ab" * 400 + b"acab" * 50) == (
        "; 25% of the validation part, 25% of the test part unknown: symbols that the training part lacks, which are "
        "not asked"
    )


def test_the_fingerprint_is_the_one_it_was(fetched):
    """A run is known by it: what else is kept on the card must not change it."""
    card = check(fetched, b"To be, or not to be\n" * 20).card
    assert card["fingerprint"] == "21be15e29214dde96a0b4cfb1da506810c9fd3b1007beef30986692b63d07981"


def test_failing_prepare_leaves_the_old_directory(fetched, tmp_path, monkeypatch):
    before = check(fetched, b"old text\n" * 10).card
    corpus, raw = fetched(b"new text\n" * 10)
    monkeypatch.setattr(hashlib, "sha256", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(corpus, raw)
    monkeypatch.undo()
    assert load(corpus.prepared).card == before
    prepare(corpus, raw)
    assert load(corpus.prepared).card != before
    assert sorted(path.name for path in (tmp_path / "prepared/text").iterdir()) == ["characters-80-10-10"]
    assert not [path for path in (tmp_path / "prepared").iterdir() if path.suffix in (".new", ".old")]


def test_the_handler_is_for_decoding_only():
    with pytest.raises(UnicodeEncodeError):
        codecs.encode("é", "ascii", "pipeline.latin1")


def test_load_names_the_commands_that_make_it(tmp_path):
    with pytest.raises(Refusal) as caught:
        load(tmp_path / "linux/characters-95-5", words="data=linux data.split=95-5")
    words = "data=linux data.split=95-5"
    assert str(caught.value) == (
        f"no prepared corpus in {tmp_path}/linux/characters-95-5: run `python -m pipeline.fetch {words}` and "
        f"`python -m pipeline.prepare {words}`"
    )


def test_vocabulary_encodes_and_decodes():
    characters = Vocabulary("characters", [ord(c) for c in "abé語"])
    assert characters.encode("a語zéé\U0001f600").tolist() == [0, 3, 4, 2, 2, 4]
    assert characters.encode("a").dtype == np.uint8
    assert characters.encode("").tolist() == [] and characters.decode([]) == ""
    assert characters.decode(np.array([0, 3, 4, 2], np.uint8)) == "a語\ufffdé"
    values = Vocabulary("bytes", sorted(set("aé".encode())))
    assert values.encode("éab").tolist() == [values.codes.index(0xC3), values.codes.index(0xA9), 0, 3]
    assert values.decode(values.encode("aé")) == "aé" and values.decode(values.encode("aba")) == "a\ufffda"
    assert values.decode([values.codes.index(0xC3)]) == "\ufffd"


def test_tiny_shakespeare_is_what_everybody_counts(mirror, tmp_path):
    corpus = TinyShakespeare(
        "tiny_shakespeare", "characters", "90-10", str(tmp_path / "p/t/characters-90-10"), [], TEXT
    )
    fetch(corpus, tmp_path, mirror)
    card = prepare(corpus, tmp_path)
    assert (card["vocabulary"], sum(card["counts"].values())) == (65, 1_115_394)
    assert card["unknown"] == {"train": 0, "validation": 0}
    text = (mirror / "tinyshakespeare.txt").read_text()
    prepared = load(corpus.prepared)
    assert "test" not in prepared.parts and prepared.vocabulary.decode(prepared.parts["train"][:300]) == text[:300]
    assert prepared.vocabulary.decode(prepared.parts["validation"]) == text[1_115_394 * 90 // 100 :]


@pytest.mark.parametrize("dataset", ["os.getcwd", "nothing.at.All", "pathlib.Path", "x", "", ".x"])
def test_a_dataset_that_reads_no_corpus_is_refused(fetched, dataset):
    corpus, raw = fetched(b"a text\n" * 9)
    prepare(corpus, raw)
    corpus.dataset = dataset
    with pytest.raises(CorpusError, match=f"^data.dataset={dataset}: no class that reads a corpus: take pipeline"):
        corpus.open()
