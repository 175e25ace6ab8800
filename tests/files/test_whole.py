import errno
import os
import subprocess
import sys

import pytest
from typing_extensions import TypedDict

from pipeline.command.refusal import Refusal
from pipeline.files import whole
from pipeline.files.whole import append_line, read_json, read_lines, remove_partials, write_atomically, write_json


class Step(TypedDict):
    step: int


DAMAGED = {
    "empty": b"",
    "zeros": bytes(40),
    "cut": b'{"step": 1, "text": "the ki',
    "not UTF-8": b'{"step": 1, "text": "\xff"}',
    "of another type": b"[1]",
    "null": b"null",
    "with other keys": b'{"stride": 1}',
    "with another value": b'{"step": "1"}',
    "endlessly nested": b"[" * 100_000,
}


@pytest.fixture
def full(tmp_path):
    """A file system of 16 KiB."""
    folder = tmp_path / "full"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused_in_one_line_with_its_mend(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(Refusal) as refusal:
        read_json(path, "start over", Step)
    said = str(refusal.value)
    assert said.startswith(f"{path} is damaged (") and said.endswith("): start over") and "\n" not in said


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_refused_with_its_number(tmp_path, content):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + content + b'\n{"step": 3}\n')
    with pytest.raises(Refusal) as refusal:
        read_lines(path, Step)
    said = str(refusal.value)
    assert said.startswith(f"{path}, line 2, is damaged (") and said.endswith("fresh=true") and "\n" not in said


def test_what_is_whole_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"step": 1, "text": "Ω"})
    assert read_json(tmp_path / "a.json", "") == {"step": 1, "text": "Ω"}
    assert read_json(tmp_path / "a.json", "", Step)["step"] == 1
    for step in (1, 2):
        append_line(tmp_path / "a.jsonl", {"step": step, "text": "\u2028Ω"})
    assert read_lines(tmp_path / "a.jsonl", Step) == [{"step": step, "text": "\u2028Ω"} for step in (1, 2)]


def test_a_last_line_that_a_crash_has_cut_is_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    assert read_lines(path) == []
    path.write_bytes(b'{"step": 1}\n{"step": 2, "text": "\xce')
    assert read_lines(path) == [{"step": 1}]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(full):
    path = full / "last.ckpt"
    write_atomically(path, "old")
    with pytest.raises(OSError) as error:
        write_atomically(path, bytes(100_000))
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old" and os.listdir(full) == ["last.ckpt"]
    write_atomically(path, "new")


def test_a_full_disk_leaves_no_half_line(full):
    path, other = full / "metrics.jsonl", full / "other"
    append_line(path, {"step": 0})
    other.write_bytes(bytes(8000))
    with pytest.raises(OSError) as error:
        for _ in range(100):
            append_line(path, {"step": 1, "text": 999 * "x"})
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes().endswith(b"}\n") and len(read_lines(path)) > 2
    before = read_lines(path)
    other.unlink()
    append_line(path, {"step": 2})
    assert read_lines(path) == [*before, {"step": 2}]


def test_what_is_interrupted_leaves_no_half_line(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    append_line(path, {"step": 0})
    whole_open = open

    class Interrupted:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, line):
            self.file.write(line[:3])
            raise KeyboardInterrupt

    monkeypatch.setattr(whole, "open", lambda *words, **more: Interrupted(whole_open(*words, **more)), raising=False)
    with pytest.raises(KeyboardInterrupt):
        append_line(path, {"step": 1})
    assert path.read_bytes() == b'{"step": 0}\n'


@pytest.mark.parametrize("place", ["file/x.json", "/proc/x/y.json", "folder"])
def test_where_nothing_can_be_written_the_error_names_the_file(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    path = tmp_path / place
    with pytest.raises(OSError) as error:
        write_json(path, {})
    assert error.value.filename == str(path) and error.value.strerror and error.value.filename2 is None
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_what_killed_processes_have_left_is_removed_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = {".last.ckpt", f".last.ckpt.{os.getpid()}", f"last.ckpt.{dead.pid}", ".gitignore", ".nfs0001"}
    for name in {*kept, f".last.ckpt.{dead.pid}", f".run.json.{dead.pid}"}:
        (tmp_path / name).touch()
    remove_partials(tmp_path)
    assert set(os.listdir(tmp_path)) == kept
    remove_partials(tmp_path / "nowhere")
