"""Jobs on several nodes that want one prepared text."""

import threading
import time

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora import preparation, prepared
from pipeline.corpora.corpus import corpus_of
from tests.conftest import composed, prepared_text, words


def together(count: int, work) -> list:
    """What `work` returns to each of so many threads that begin at once."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_two_that_prepare_at_once_do_it_once(tmp_path, monkeypatch):
    overrides = prepared_text(tmp_path, words(400))
    corpus = corpus_of(composed(*overrides).data)
    calls, scan = [], preparation.scan

    def slow(*arguments):
        calls.append(arguments)
        time.sleep(1)
        return scan(*arguments)

    monkeypatch.setattr(preparation, "scan", slow)
    one, two = together(2, lambda: preparation.prepare(corpus, tmp_path / "raw"))
    assert len(calls) == 1 and one == two
    preparation.prepare(corpus, tmp_path / "raw")  # asked for again later, it is made again
    assert len(calls) == 2


def test_a_text_is_copied_once_to_a_nodes_own_disk_and_read_there(tmp_path, monkeypatch):
    overrides = prepared_text(tmp_path, words(400))
    directory, local = composed(*overrides).data.prepared, tmp_path / "local"
    copies, copytree = [], prepared.shutil.copytree

    def slow(*arguments, **named):
        copies.append(arguments)
        time.sleep(1)
        return copytree(*arguments, **named)

    monkeypatch.setattr(prepared.shutil, "copytree", slow)
    original = prepared.load(directory)
    for copy in together(3, lambda: prepared.load(directory, local=local)):
        assert (
            copy.card == original.card
            and np.array_equal(copy.parts["train"], original.parts["train"])
            and local in copy.parts["train"].filename.parents
        )
    assert len(copies) == 1 and len([path for path in local.iterdir() if path.is_dir()]) == 1
    prepared_text(tmp_path, words(500))  # another text by the same name is another copy
    assert (
        len(prepared.load(directory, local=local).parts["train"]) != len(original.parts["train"]) and len(copies) == 2
    )


def test_a_disk_that_cannot_take_the_copy_is_named(tmp_path):
    overrides = prepared_text(tmp_path, words(400))
    (tmp_path / "local").write_text("a file")
    with pytest.raises(Refusal, match=r"^paths\.local=.*local: .*: name a folder on this node's own disk"):
        prepared.load(composed(*overrides).data.prepared, local=tmp_path / "local")
