"""Verses in two languages, in small modules of the SWORD project's form."""

import shutil
import struct
import subprocess
import zlib

import pytest

from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.verified import sha256
from pipeline.datasets.verses import KEPT, SUMS, Verses, place_texts, plain, read_texts

ENGLISH = [
    "",
    '<title>Genesis</title> <div sID="gen3" type="x-p"/>',
    '¶ In the <w lemma="strong:H7225">beginning</w>.<note n="a">Heb. <i>head</i></note> ',
    'And <q marker="">it was</q> &amp; so!',
    "left out over there",
]
SPANISH = ["", "<title>Génesis</title>", "EN el principio.", "¿Y fué así?", ""]


def write_module(folder, testament: str, verses: list[str], size: int = 2) -> None:
    """Blocks of so many verses, packed one after the other behind five bytes of anything."""
    packed, blocks, places = b"other", b"", b""
    for number, first in enumerate(range(0, len(verses), size)):
        inside = b""
        for verse in verses[first : first + size]:
            places += struct.pack("<IIH", number, len(inside), len(verse.encode()))
            inside += verse.encode()
        block = zlib.compress(inside)
        blocks += struct.pack("<III", len(packed), len(block), len(inside))
        packed += block
    for kind, content in (("bzs", blocks), ("bzv", places), ("bzz", packed)):
        (folder / f"{testament}.{kind}").write_bytes(content)


def made(tmp_path, monkeypatch, times: int = 1, **changes):
    paths = []
    for language, verses in (("english", ENGLISH), ("spanish", SPANISH)):
        folder = tmp_path / language
        folder.mkdir()
        write_module(folder, "ot", verses * times)
        write_module(folder, "nt", verses)
        paths += [folder / name for name in KEPT]
    settings = {"symbols": "words", "vocabulary": None, "least": 2, "train_size": None, "seed": 0} | changes
    verses = Verses("verses", "unused", **settings)
    arrays = verses.arrays(paths)
    monkeypatch.setattr(Verses, "read", lambda self, local: arrays)
    return verses


def test_a_module_is_read_verse_by_verse_without_markup(tmp_path):
    write_module(tmp_path, "ot", ENGLISH)
    found = list(read_texts(*(tmp_path / f"ot.{kind}" for kind in ("bzs", "bzv", "bzz"))))
    assert found == ["", "", "In the beginning.", "And it was & so!", "left out over there"]
    assert plain('a<note placement="x"/> b <note>no</note>c \\nd LORD') == "a b c LORD"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_packages_are_those_that_are_pinned(tmp_path, monkeypatch):
    for package in SUMS:
        texts = tmp_path / package / "usr/share/sword/modules/texts/ztext/any"
        texts.mkdir(parents=True)
        for testament in ("ot", "nt"):
            write_module(texts, testament, ENGLISH)
        (tmp_path / package / "DEBIAN").mkdir()
        control = f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: t\nDescription: t\n"
        (tmp_path / package / "DEBIAN/control").write_text(control)
        built = tmp_path / "mirror" / f"{package}_1_all.deb"
        built.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "--build", tmp_path / package, built], check=True, capture_output=True)
    with pytest.raises(CorpusError, match=r"^sword-text-kjv_1_all\.deb has sha256 .*, expected 9f463f28ce66"):
        place_texts(tmp_path / "mirror", tmp_path / "files")
    for package in SUMS:
        monkeypatch.setitem(SUMS, package, sha256(tmp_path / "mirror" / f"{package}_1_all.deb"))
    places = [f"{language}/{name}" for language in ("english", "spanish") for name in KEPT]
    assert place_texts(tmp_path / "mirror", tmp_path / "files") == places
    assert all((tmp_path / "files" / place).is_file() for place in places)


@pytest.mark.parametrize("kind, at", [("bzz", 7), ("bzs", 0), ("bzv", 20)])
def test_a_damaged_module_is_refused(tmp_path, kind, at):
    write_module(tmp_path, "ot", ENGLISH)
    path = tmp_path / f"ot.{kind}"
    content = path.read_bytes()
    path.write_bytes(content[:at] + bytes([content[at] ^ 255]) * 4 + content[at + 4 :])
    with pytest.raises(CorpusError, match="^ot.bzz holds no verses: "):
        list(read_texts(*(tmp_path / f"ot.{kind}" for kind in ("bzs", "bzv", "bzz"))))


def test_what_both_translations_have_is_paired(tmp_path, monkeypatch):
    data = made(tmp_path, monkeypatch, times=60).open()
    assert sum(map(len, data.pairs.values())) == 2 * 61 and all(data.pairs.values())
    texts = {pair.texts for pairs in data.pairs.values() for pair in pairs}
    assert texts == {("In the beginning.", "EN el principio."), ("And it was & so!", "¿Y fué así?")}
    for pair in data.pairs["train"]:
        assert data.target.decode(pair.answers[0]) == pair.texts[1] and len(pair.answers[0]) in (4, 5)
    assert data.target.words[0] == "<unk>" and data.reads.count == data.end + 1 == len(data.target) + 1
    assert data.answers.units.element == "word"


def test_rare_words_are_one_and_what_was_written_is_kept(tmp_path, monkeypatch):
    data = made(tmp_path, monkeypatch, times=60, vocabulary=2).open()
    [pair, *_] = data.pairs["test"]
    assert len(data.target) == 3 and "<unk>" in data.target.decode(pair.answers[0])
    assert "<unk>" not in data.written(pair)[1][0]


def test_verses_by_characters(tmp_path, monkeypatch):
    data = made(tmp_path, monkeypatch, times=60, symbols="characters", train_size=5).open()
    assert len(data.pairs["train"]) == 5 and data.answers.units.element == "char"
    for pair in data.pairs["test"]:
        assert (data.source.decode(pair.source), data.target.decode(pair.answers[0])) == pair.texts
