import errno
import os

import pytest

from pipeline.files.landing import landing, lock


def test_a_new_folder_replaces_the_old_one_or_leaves_no_trace(tmp_path):
    directory = tmp_path / "text" / "characters"
    for content in ("old", "new"):
        with lock(directory, tmp_path), landing(directory, tmp_path) as folder:
            (folder / "a").write_text(content)
    with pytest.raises(KeyError), lock(directory, tmp_path), landing(directory, tmp_path) as folder:
        (folder / "a").write_text("broken")
        raise KeyError
    assert (directory / "a").read_text() == "new" and os.listdir(tmp_path) == ["text"]


def test_the_next_process_mends_what_a_killed_one_has_left(tmp_path):
    directory = tmp_path / "text"
    for name in (".text.new", ".text.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with lock(directory, tmp_path):  # that has nothing to make
        assert (directory / "a").read_text() == ".text.old"
    assert os.listdir(tmp_path) == ["text"]


def test_a_second_rename_that_fails_leaves_the_old_folder(tmp_path, monkeypatch):
    directory = tmp_path / "text"
    directory.mkdir()
    (directory / "a").write_text("old")
    rename = os.rename

    def failing(source, target):
        if str(source).endswith(".new"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError) as error, lock(directory, tmp_path), landing(directory, tmp_path):
        pass
    monkeypatch.undo()
    assert error.value.filename == str(directory)
    assert (directory / "a").read_text() == "old"
