"""Prepared files are held against their checksums once, and again when they have changed."""

import json
import os
import shutil

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora import verified
from pipeline.corpora.corpus import corpus_of
from pipeline.corpora.preparation import prepare
from pipeline.corpora.prepared import load
from tests.conftest import composed, prepared_text, words
from tests.corpora.conftest import spoil

FILES = ["train.npy", "validation.npy", "test.npy", "vocabulary.json"]


@pytest.fixture
def corpus(tmp_path):
    return corpus_of(composed(*prepared_text(tmp_path, words(400))).data)


@pytest.fixture
def read(monkeypatch):
    """Names of the files whose checksums were computed."""
    names, sha256 = [], verified.sha256
    monkeypatch.setattr(verified, "sha256", lambda path: names.append(path.name) or sha256(path))
    return names


def opened(corpus, local=None):
    return load(corpus.directory, corpus.prompts, local, corpus.words())


def refused(corpus, name: str, local=None) -> str:
    """Checks that the corpus is refused in one line that names the file and the mend, and that preparing mends it."""
    with pytest.raises(Refusal) as caught:
        opened(corpus, local)
    line = str(caught.value)
    assert "\n" not in line and f"{corpus.directory}/{name} is " in line
    assert line.endswith(f": run `python -m pipeline.prepare {corpus.words()}` again")
    return line


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "zero", "noise", "empty", "gone", "other"])
@pytest.mark.parametrize("before", [True, False], ids=["opened before", "never opened"])
def test_a_damaged_file_is_refused_and_preparing_mends_it(corpus, tmp_path, name, damage, before):
    if before:
        opened(corpus)
    spoil(corpus.directory / name, damage)
    refused(corpus, name)
    refused(corpus, name, tmp_path / "local")
    prepare(corpus, tmp_path / "raw")
    opened(corpus)


def test_what_is_no_file_is_refused(corpus):
    (corpus.directory / "train.npy").unlink()
    (corpus.directory / "train.npy").symlink_to("nowhere")
    assert "train.npy is missing: " in refused(corpus, "train.npy")
    (corpus.directory / "train.npy").unlink()
    (corpus.directory / "train.npy").mkdir()
    assert "train.npy is no file: " in refused(corpus, "train.npy")


def test_a_symbol_that_the_vocabulary_lacks_is_refused(corpus):
    symbols = np.load(corpus.directory / "train.npy")
    symbols[7] = 250
    np.save(corpus.directory / "train.npy", symbols)
    assert "(its sha256 is not the one on its card)" in refused(corpus, "train.npy")


def test_files_are_read_once_and_again_when_they_changed(corpus, read):
    opened(corpus)
    assert sorted(read) == sorted(FILES)
    opened(corpus)
    assert len(read) == 4
    before = os.stat(corpus.directory / "test.npy")
    content = bytearray((corpus.directory / "test.npy").read_bytes())
    content[-1] ^= 1
    (corpus.directory / "test.npy").write_bytes(content)
    os.utime(corpus.directory / "test.npy", ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync and cp -p do
    refused(corpus, "test.npy")


def test_a_note_that_is_damaged_or_cannot_be_written_costs_time_alone(corpus, read, monkeypatch):
    opened(corpus)
    [note] = corpus.directory.parent.parent.glob(".*.verified")
    for content in (b"", b"[]", b"\xff", b'{"train.npy": 3}'):
        note.write_bytes(content)
        opened(corpus)
    assert len(read) == 5 * 4
    note.unlink()
    monkeypatch.setattr(verified, "write_json", lambda *_: (_ for _ in ()).throw(PermissionError(13, "denied")))
    opened(corpus)
    assert not note.exists() and len(read) == 6 * 4


def test_nothing_is_noted_within_what_dvc_hashes(corpus):
    opened(corpus)
    assert sorted(path.name for path in corpus.directory.iterdir()) == sorted([*FILES, "card.json"])
    assert [path.name for path in corpus.directory.parent.iterdir()] == ["characters-80-10-10"]


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "{}", "3", '"x"', '{"counts": 3}', "\xff"])
def test_a_card_that_is_none_is_refused_and_preparing_mends_it(corpus, tmp_path, content):
    (corpus.directory / "card.json").write_bytes(content.encode("latin-1"))
    refused(corpus, "card.json")
    prepare(corpus, tmp_path / "raw")
    opened(corpus)


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda card: card.pop("files"), "of an earlier version, which kept no checksums"),
        (lambda card: card["files"].pop("test.npy"), "damaged (it has no checksum of test.npy)"),
        (lambda card: card["files"].pop("vocabulary.json"), "damaged (it has no checksum of vocabulary.json)"),
        (lambda card: card["counts"].update(train=7), "damaged (its counts are not those of the arrays)"),
        (lambda card: card.pop("fingerprint"), "damaged (it lacks fingerprint)"),
        (lambda card: card.update(fingerprint="../x"), "damaged (fingerprint String should match pattern"),
    ],
)
def test_a_card_that_says_less_or_else_is_refused(corpus, change, reason):
    card = json.loads((corpus.directory / "card.json").read_text())
    change(card)
    (corpus.directory / "card.json").write_text(json.dumps(card))
    assert f"card.json is {reason}" in refused(corpus, "card.json")


def test_a_damaged_copy_is_made_again(corpus, tmp_path, capsys, read):
    local = tmp_path / "local"
    expected = opened(corpus, local)
    [copy] = [path for path in local.iterdir() if path.is_dir()]
    del read[:]
    opened(corpus, local)
    assert not read
    for damage in ("cut", "other", "gone"):
        spoil(copy / "test.npy", damage)
        found = opened(corpus, local)
        assert np.array_equal(found.parts["test"], expected.parts["test"]) and local in copy.parents
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith(f"{copy}/test.npy is ") and line.endswith(": it is copied again")


def test_a_disk_that_spoils_the_copy_is_named(corpus, tmp_path, monkeypatch):
    copytree = shutil.copytree

    def spoiled(directory, folder, **named):
        copytree(directory, folder, **named)
        spoil(folder / "train.npy", "other")

    monkeypatch.setattr("pipeline.corpora.prepared.shutil.copytree", spoiled)
    with pytest.raises(Refusal, match=r"/local/text-\w+/train\.npy is damaged .*: remove .*, or name another folder"):
        opened(corpus, tmp_path / "local")
