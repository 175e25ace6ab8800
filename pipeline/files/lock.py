"""A lock that several machines respect on a shared file system.

It is a file that says who holds it and whose time stamp its owner renews. On one machine the owner's process decides at
once; of another machine's owner this process sees only whether the stamp moves, so no clocks are compared and no file
system needs to offer locks of its own.
"""

import contextlib
import json
import os
import re
import socket
import threading
import time
from pathlib import Path

import psutil
from typing_extensions import TypedDict

from pipeline.files.form import misfit
from pipeline.files.whole import naming

BEAT = 5.0  # seconds between renewals
SILENCE = 30.0  # an owner on another machine that has not renewed its lock for so long is dead


class Owner(TypedDict):
    """What a lock file says of its owner, in JSON."""

    host: str
    machine: str  # within it, process numbers mean the same
    process: int
    started: float
    job: str | None
    restarts: int
    since: float


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
        a node that SLURM has lost may still be at work. So is a file that is no lock: one of ours is never there in
        part. One that another version of this code may have written is believed while it is renewed.
        """
        while not self._create():
            content = _read(self.path)
            if content is not None:
                before = _was_this_job(content)
                if not before and _alive(self.path, content):
                    raise Held(_who(content))
                self._remove(content)
                if before:
                    time.sleep(2 * BEAT)  # in which it notices
        self._remove_leftovers()
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
        whole = self._beside()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with naming(self.path), open(whole, "x", encoding="utf-8") as file:
                file.write(self.mine)
                file.flush()
                os.fsync(file.fileno())
            os.link(whole, self.path)
            return True
        except (FileExistsError, FileNotFoundError):  # locked; or taken for a leftover
            return False
        finally:
            whole.unlink(missing_ok=True)

    def _beside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{os.urandom(8).hex()}")

    def _remove_leftovers(self) -> None:
        """Files beside the lock whose makers were killed: on this machine, or so long ago that they cannot be alive."""
        pattern, now = re.compile(re.escape(self.path.name) + r"\.[0-9a-f]{16}"), _stamp(self.path)
        for path in self.path.parent.iterdir():
            if pattern.fullmatch(path.name):
                content, stamp = _read(path), _stamp(path)
                if content is None or stamp is None or now is None:
                    continue
                owner = _owner(content)
                here = owner is not None and owner["machine"] == _machine()
                if not _runs(owner) if here else now - stamp > SILENCE * 1e9:
                    path.unlink(missing_ok=True)

    def _remove(self, content: str) -> None:
        """Removes the lock file if it says `content`: no other one,
        even if another process replaces it at this moment."""
        aside = self._beside()
        if _read(self.path) != content:
            return
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        with contextlib.suppress(FileNotFoundError):  # taken for a leftover: it was a dead owner's
            if _read(aside) != content and not self.path.exists():
                os.rename(aside, self.path)
            else:
                aside.unlink()

    def _renew(self) -> None:
        """Every BEAT seconds. An owner that was taken for dead, being cut off for long, must write no more."""
        while not self._ended.wait(BEAT):
            try:
                if _read(self.path) == self.mine:
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


def _machine() -> str:
    """This boot of this kernel, this name space of processes."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() + os.readlink("/proc/self/ns/pid") if boot.exists() else socket.gethostname()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def _value(content: str) -> object:
    """What a lock file says; None where it is no JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _owner(content: str) -> Owner | None:
    """Whom a lock file names; None where it is none of this version."""
    value = _value(content)
    return value if misfit(value, Owner) is None else None


def _was_this_job(content: str) -> bool:
    owner, mine = _owner(content), _self()
    return (
        owner is not None
        and owner["job"] is not None
        and owner["job"] == mine["job"]
        and owner["restarts"] < mine["restarts"]
    )


def _alive(path: Path, content: str) -> bool:
    owner = _owner(content)
    if owner is not None and owner["machine"] == _machine():
        return _runs(owner)
    if not isinstance(_value(content), dict):
        return False
    first = _stamp(path)
    for _ in range(round(SILENCE)):
        time.sleep(1)
        if _read(path) != content:
            return False  # given back, or another's by now: look again
        if _stamp(path) != first:
            return True
    return False


def _runs(owner: Owner) -> bool:
    """Whether an owner on this machine does."""
    try:
        process = psutil.Process(owner["process"])
        return abs(process.create_time() - owner["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError, OverflowError):  # the latter of numbers that no process has
        return False


def _stamp(path: Path) -> int | None:
    try:
        with open(path, "rb") as file:  # opening makes a network file system ask its server
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _who(content: str) -> str:
    owner = _owner(content)
    if owner is None:
        return "a process of another version of this code"
    job = f", SLURM job {owner['job']}" if owner["job"] else ""
    minutes = (time.time() - owner["since"]) / 60
    since = f"{minutes:.0f} min" if minutes >= 1 else "less than a minute"
    return f"process {owner['process']} on {owner['host']}{job} for {since}"
