"""What a process that trains or runs a network takes of its machine."""

import ctypes

import torch

# mallopt of glibc: the parameter's number, and its value.
TRIM_THRESHOLD = (-1, -1)  # freed memory at the heap's end is never given back, however much
MMAP_MAX = (-4, 0)  # large pieces come from the heap, too


def settle_process(threads: int) -> None:
    """Lets it compute on so many threads of the CPU, and keep the memory that it frees.

    glibc gives the memory of each large tensor back to the kernel and asks for it anew, which clears it page by page:
    training on words spends a tenth of its time on that, judging an average of models of words half. Where there is no
    glibc, memory is as the system has it.
    """
    torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in (TRIM_THRESHOLD, MMAP_MAX):
            mallopt(parameter, value)
