import json
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
    with pytest.raises(Held, match=r"^process \d+ on \S+ for 0 min$"):
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
