"""The guard against sqlite on a network disk, tried on disks that are mounted here, with names that need care."""

import errno
import os
import re
import shutil
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from pipeline.command.refusal import Refusal
from pipeline.runs import scheduler

INIT = 26  # of the kernel's fuse.h; FORGET and BATCH_FORGET want no answer
FORGET = (2, 42)


def mount(folder: Path, *words: str, **more) -> None:
    folder.mkdir()
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True, **more)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def local_disk(tmp_path):
    """An ext4 in a file."""
    folder, image, make = tmp_path / "a disk", tmp_path / "image", shutil.which("mkfs.ext4", path="/sbin:/usr/sbin")
    if make is None:
        pytest.skip("no mkfs.ext4 here")
    with open(image, "wb") as file:
        file.truncate(4 << 20)
    subprocess.run([make, "-q", image], check=True)
    mount(folder, "-o", "loop", str(image))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def network_disk(tmp_path):
    """A disk of sshfs's kind, on which nothing is: this process is its server, and says so."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    folder = tmp_path / "a network disk"
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    mount(folder, "--internal-only", "-t", "fuse.sshfs", "-o", options, "host:/project", pass_fds=(device,))

    def serve() -> None:
        while True:
            try:
                _, code, unique, *_ = struct.unpack_from("<IIQQ", os.read(device, 1 << 18))
                if code == INIT:  # protocol 7.31, and nothing that it offers
                    answer = struct.pack("<IIIIHHII", 7, 31, 0, 0, 12, 10, 1 << 16, 1) + bytes(32)
                    os.write(device, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
                elif code not in FORGET:
                    os.write(device, struct.pack("<IiQ", 16, -errno.ENOENT, unique))
            except OSError:  # not mounted any more
                return

    server = threading.Thread(target=serve)
    server.start()
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    server.join()
    os.close(device)


def test_a_local_disk_is_warned_of(local_disk):
    assert scheduler._file_system(local_disk / "mlflow.db") == "ext4"
    assert re.match(
        "warning: .* on one machine's own disk", scheduler.refuse_shared_sqlite(f"sqlite:///{local_disk}/m.db")
    )


def test_a_network_disk_is_refused_however_it_is_reached(network_disk, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(network_disk)
    monkeypatch.chdir(tmp_path)
    for path in (network_disk / "mlflow.db", Path("link/mlflow.db"), Path("./a network disk/new/mlflow.db")):
        with pytest.raises(Refusal, match=rf"^tracking\.uri=sqlite:///{path} is a file on fuse\.sshfs, and jobs on "):
            scheduler.refuse_shared_sqlite(f"sqlite:///{path}")


def test_the_disk_that_hides_another_counts(network_disk):
    subprocess.run(["mount", "-t", "tmpfs", "none", network_disk], check=True)
    try:
        assert scheduler._file_system(network_disk / "mlflow.db") == "tmpfs"
    finally:
        subprocess.run(["umount", network_disk], check=True)
    assert scheduler._file_system(network_disk / "mlflow.db") == "fuse.sshfs"
