"""The forms in which C++ was compiled when the project was installed, one for each set of processors' instructions."""

import ctypes
from collections.abc import Callable, Iterable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

SETS = {"AVX512": ("avx512", "avx2"), "AVX2": ("avx2",)}  # what a processor has -> what it can run, fastest first


def runnable() -> tuple[str, ...]:
    """The forms that this processor can run, fastest first."""
    return *SETS.get(torch.backends.cpu.get_cpu_capability(), ()), "any"


def fastest(load: Callable[[str], ctypes.CDLL | None], among: Iterable[str] | None = None) -> ctypes.CDLL | None:
    """What `load` gives for the first of these forms that was compiled, by default of all that this processor can run;
    None where none was."""
    return next(filter(None, map(load, runnable() if among is None else among)), None)


def load(source: Path, form: str) -> ctypes.CDLL | None:
    """A form of a source (its path without .cpp); None where it was not compiled."""
    files = [source.with_name(f"{source.name}_{form}{suffix}") for suffix in EXTENSION_SUFFIXES]
    file = next((file for file in files if file.exists()), None)
    return None if file is None else ctypes.CDLL(str(file))
