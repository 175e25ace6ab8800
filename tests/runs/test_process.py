"""What a process that computes takes of its machine."""

import platform
import subprocess
import sys

import pytest

PAGE_FAULTS = """
import resource
import torch
from pipeline.runs.process import settle_process

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.zeros(2**23).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
settle_process(1)
faults()
print(before, faults(), torch.get_num_threads())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="without glibc, memory is as the system has it")
def test_freed_memory_is_used_again_without_being_asked_for():
    said = subprocess.run([sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True).stdout
    asked_for, again, threads = map(int, said.split())
    assert again < asked_for / 10 and threads == 1
