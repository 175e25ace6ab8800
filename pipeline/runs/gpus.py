"""Which GPU of this machine a run on one device is trained on."""

import fcntl
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import IO

import torch

_kept: list[IO] = []  # whose lock ends with this process


@cache
def own_gpu() -> int:
    """The number of a GPU that no other process of this user trains on, kept to the end of this process; where all are
    taken, any."""
    count = torch.cuda.device_count()
    for number in range(count):
        name = f"pipeline-{os.getuid()}-{torch.cuda.get_device_properties(number).uuid}"
        lock = Path(tempfile.gettempdir(), name).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            _kept.append(lock)
            return number
    return os.getpid() % count
