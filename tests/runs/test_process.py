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
print(before, min(faults() for _ in range(16)), torch.get_num_threads())
"""
GIVEN_BACK = """
import ctypes
from pipeline.runs.process import settle_process

settle_process(1)
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
large = libc.malloc(2**31 + 2**24)  # of which nothing is written
end = libc.sbrk(0)
libc.free(large)
print(end - libc.sbrk(0))
"""


WITH_GLIBC = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="without glibc, memory is as the system has it"
)


@WITH_GLIBC
def test_freed_memory_is_used_again_without_being_asked_for():
    """Once what is small has found its place beside what is large, which takes a few rounds."""
    asked_for, again, threads = printed(PAGE_FAULTS)
    assert again < asked_for / 10 and threads == 1


@WITH_GLIBC
def test_more_freed_memory_than_a_number_of_c_counts_is_kept_too():
    assert printed(GIVEN_BACK) == [0]


def printed(program: str) -> list[int]:
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return [int(number) for number in said.split()]
