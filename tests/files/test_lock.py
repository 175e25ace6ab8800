import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from pipeline.files import lock as module
from pipeline.files.lock import Held, Lock
from tests.conftest import ROOT

TAKE = (
    "import sys, time; from pipeline.files.lock import Lock; "
    "Lock(sys.argv[1]).acquire(); print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.1)
    monkeypatch.setattr(module, "SILENCE", 2)
    return tmp_path / "study" / ".run.lock"


def elsewhere(file) -> str:
    """The lock of a process of another machine."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(
        {
            **module._self(),
            "host": "n7",
            "machine": "another",
            "process": 4,
            "job": "12",
            "since": time.time() - 600,
            "token": "a",
        }
    )
    file.write_text(content)
    return content


def test_one_holder_at_a_time_who_says_who_it_is(file):
    mine = Lock(file)
    mine.acquire()
    with pytest.raises(Held, match=r"^process \d+ on \S+ for less than a minute$"):
        Lock(file).acquire()
    mine.release()
    assert not list(file.parent.iterdir())
    Lock(file).acquire()


def test_a_process_that_was_killed_leaves_its_lock_to_the_next(file):
    other = subprocess.Popen([sys.executable, "-c", TAKE, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(Held, match=f"process {other.pid} "):
        Lock(file).acquire()
    other.kill()
    other.wait()
    began = time.monotonic()
    Lock(file).acquire()
    assert time.monotonic() - began < 1


def test_an_owner_on_another_machine_is_believed_while_it_renews_its_lock(file):
    elsewhere(file)
    ended = threading.Event()

    def renew():
        while not ended.wait(0.1):
            file.touch()

    renewing = threading.Thread(target=renew)
    renewing.start()
    with pytest.raises(Held, match="^process 4 on n7, SLURM job 12 for 10 min$"):
        Lock(file).acquire()
    ended.set()
    renewing.join()
    Lock(file).acquire()  # now it is silent
    assert json.loads(file.read_text())["host"] != "n7"


def test_a_job_that_comes_back_from_the_queue_replaces_what_it_was_before(file, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    file.parent.mkdir()
    before = Lock(file)
    before._create()  # alive, on a node that SLURM has lost
    with pytest.raises(Held):
        Lock(file).acquire()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    Lock(file).acquire()
    assert file.read_text() != before.mine


def test_many_who_find_a_dead_owner_become_one_owner(file):
    elsewhere(file)
    got, locks = [], [Lock(file) for _ in range(8)]

    def take(lock):
        try:
            lock.acquire()
            got.append(lock)
        except Held:
            pass

    threads = [threading.Thread(target=take, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and file.read_text() == got[0].mine
    got[0].release()
    assert not list(file.parent.iterdir())


def test_waiting_gets_the_lock_when_it_is_given_back(file):
    first = Lock(file)
    first.acquire()
    threading.Timer(0.3, first.release).start()
    with Lock(file):
        assert first.mine is None


def test_who_has_lost_the_lock_writes_no_more(file):
    code = TAKE.replace("; Lock(", "; import pipeline.files.lock as module; module.BEAT = 0.1; Lock(")
    other = subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    elsewhere(file)
    said, _ = other.communicate(timeout=10)
    assert other.returncode == 1 and "another process has taken this lock over" in said


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\xff\x00", bytes(50), b"[]", b"null", b'{"host": "n7", "mach', b"[" * 9999]
)
def test_what_is_no_lock_keeps_nobody_out(file, content):
    file.parent.mkdir()
    file.write_bytes(content)
    began = time.monotonic()
    lock = Lock(file)
    lock.acquire()
    assert time.monotonic() - began < 1 and file.read_text() == lock.mine
    lock.release()
    assert not list(file.parent.iterdir())


@pytest.mark.parametrize("content", ['{"owner": "n7"}', "{}", '{"host": 7, "machine": 1, "process": "x"}'])
def test_the_lock_of_another_version_is_believed_while_it_is_renewed(file, content):
    file.parent.mkdir()
    file.write_text(content)
    threading.Timer(0.5, file.touch).start()
    with pytest.raises(Held, match="^a process of another version of this code$"):
        Lock(file).acquire()
    Lock(file).acquire()  # now it is silent
    assert json.loads(file.read_text())["process"] == os.getpid()


@pytest.mark.parametrize("number", [-1, 2**31, 2**80])
def test_a_number_that_no_process_has_is_a_dead_owner(file, number):
    file.parent.mkdir()
    file.write_text(json.dumps({**module._self(), "process": number, "since": 0.0}))
    Lock(file).acquire()


def test_the_next_holder_removes_what_killed_processes_have_left_beside_the_lock(file):
    file.parent.mkdir()
    dead = {**module._self(), "started": 0.0, "since": 0.0}
    left = {
        name: file.with_name(f"{file.name}.{digit * 16}") for name, digit in (("dead", "a"), ("old", "b"), ("new", "c"))
    }
    left["dead"].write_text(json.dumps(dead))
    left["old"].write_text("")
    os.utime(left["old"], (0, 0))
    left["new"].write_text("")
    mine, others = file.with_name(f"{file.name}.{'d' * 16}"), file.with_name(f".other{file.name}.{'a' * 16}")
    mine.write_text(json.dumps({**module._self(), "since": 0.0}))  # of a living process
    others.write_text(json.dumps(dead))  # of another lock
    lock = Lock(file)
    lock.acquire()
    lock.release()
    assert set(file.parent.iterdir()) == {left["new"], mine, others}


def test_what_was_taken_for_a_leftover_is_made_again(file, monkeypatch):
    link, links = os.link, []

    def slow(source, target):
        links.append(source)
        if len(links) == 1:
            os.unlink(source)
        link(source, target)

    monkeypatch.setattr(os, "link", slow)
    lock = Lock(file)
    lock.acquire()
    assert len(links) == 2 and file.read_text() == lock.mine


def test_the_lock_is_on_disk_before_it_is_seen(file, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    link = os.link
    monkeypatch.setattr(os, "link", lambda source, target: (link(source, target), synced.append("linked")))
    Lock(file).acquire()
    assert len(synced) == 2 and synced[0].startswith(f"{file}.") and synced[1] == "linked"


def test_a_full_disk_leaves_no_part_of_a_lock(file, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as error:
        Lock(file).acquire()
    assert error.value.filename == str(file) and not list(file.parent.iterdir())
