"""A lock that several machines respect on a shared file system.

It is a file that says who holds it and whose time stamp its owner renews. On one machine the owner's process decides at
once; of another machine's owner this process sees only whether the stamp moves, so no clocks are compared and no file
system needs to offer locks of its own.
"""

import json
import os
import socket
import threading
import time
from pathlib import Path

import psutil

BEAT = 5.0  # seconds between renewals
SILENCE = 30.0  # an owner on another machine that has not renewed its lock for so long is dead


class Held(Exception):
    """Somebody else holds the lock; the message says who, where and since when."""


class Lock:
    """The lock file `path`; a context manager that waits for it."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.mine: str | None = None  # what the file says while this object holds the lock

    def acquire(self) -> None:
        """Takes the lock. Held: its owner is alive.

        An owner that died is replaced; that takes SILENCE seconds where it was on another machine. So is, dead or
        alive, what this SLURM job was before it was put back into the queue:
        a node that SLURM has lost may still be at work.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while not self._create():
            owner = _read(self.path)
            if owner is not None:
                before = _was_this_job(json.loads(owner))
                if not before and _alive(self.path, owner):
                    raise Held(_who(json.loads(owner)))
                self._remove(owner)
                if before:
                    time.sleep(2 * BEAT)  # in which it notices
        self._ended = threading.Event()
        threading.Thread(target=self._renew, daemon=True).start()

    def release(self) -> None:
        """Gives the lock back."""
        self._ended.set()
        self._remove(self.mine)
        self.mine = None

    def __enter__(self) -> None:
        while True:
            try:
                return self.acquire()
            except Held:
                time.sleep(0.2)

    def __exit__(self, *error) -> None:
        self.release()

    def _create(self) -> bool:
        """Puts the lock file there with all that it says, unless there is one."""
        self.mine = json.dumps({**_self(), "since": time.time(), "token": os.urandom(8).hex()})
        whole = self.path.with_name(f"{self.path.name}.{os.urandom(8).hex()}")
        whole.write_text(self.mine)
        try:
            os.link(whole, self.path)
            return True
        except FileExistsError:
            return False
        finally:
            whole.unlink()

    def _remove(self, content: str) -> None:
        """Removes the lock file if it says `content`: no other one,
        even if another process replaces it at this moment."""
        aside = self.path.with_name(f"{self.path.name}.{os.urandom(8).hex()}")
        if _read(self.path) != content:
            return
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        if _read(aside) != content and not self.path.exists():
            os.rename(aside, self.path)
        else:
            aside.unlink()

    def _renew(self) -> None:
        """Every BEAT seconds. An owner that was taken for dead, being cut off for long, must write no more."""
        while not self._ended.wait(BEAT):
            try:
                if self.path.read_text() == self.mine:
                    os.utime(self.path)
                    continue
            except FileNotFoundError:
                pass
            except OSError:  # a file system that is away for a while: ask again
                continue
            if not self._ended.is_set():
                print(f"error: {self.path}: another process has taken this lock over: this one ends", flush=True)
                os._exit(1)


def _self() -> dict:
    """Who this process is, by what cannot be mistaken for another one."""
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "process": os.getpid(),
        "started": psutil.Process().create_time(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "restarts": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    }


def _was_this_job(owner: dict) -> bool:
    return owner["job"] is not None and owner["job"] == _self()["job"] and owner["restarts"] < _self()["restarts"]


def _machine() -> str:
    """Within it, process numbers mean the same: this boot of this kernel, this name space of processes."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() + os.readlink("/proc/self/ns/pid") if boot.exists() else socket.gethostname()


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _alive(path: Path, content: str) -> bool:
    owner = json.loads(content)
    if owner["machine"] == _machine():
        try:
            process = psutil.Process(owner["process"])
            return abs(process.create_time() - owner["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
    first = _stamp(path)
    for _ in range(round(SILENCE)):
        time.sleep(1)
        if _read(path) != content:
            return False  # given back, or another's by now: look again
        if _stamp(path) != first:
            return True
    return False


def _stamp(path: Path) -> int | None:
    try:
        with open(path) as file:  # opening makes a network file system ask its server
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _who(owner: dict) -> str:
    job = f", SLURM job {owner['job']}" if owner["job"] else ""
    minutes = (time.time() - owner["since"]) / 60
    return f"process {owner['process']} on {owner['host']}{job} for {minutes:.0f} min"
