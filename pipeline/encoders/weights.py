"""Weights that lie on this machine: found, held against their checksums, and loaded without running what they hold."""

from functools import cache
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from pipeline.command.refusal import Refusal
from pipeline.corpora.verified import sha256


def checksum(path: Path) -> str:
    """sha256 of a file, read again once it has changed."""
    found = path.stat()
    return _checksum(path, found.st_size, found.st_mtime_ns)


@cache
def _checksum(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def load_weights(network: nn.Module, path: Path, place: str, mend: str) -> nn.Module:
    """The network with the tensors of a file. On the "meta" device, where a network is built to be counted alone, there
    is nothing to load.

    place, mend  what the Refusal says of a file that holds no weights of this network: what asks for it, and what to do
    """
    if next(network.parameters()).is_meta:
        return network
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # of a damaged file torch raises whatever its readers meet
        no_tensors = isinstance(error, UnpicklingError)  # whose message is advice to a programmer
        why = "no file of tensors alone" if no_tensors else str(error).splitlines()[0][:120]
        raise Refusal(f"{place}: {path} holds no weights of this network ({why}): {mend}") from None
    return network


def drawn(make, seed: int) -> nn.Module:
    """The network that `make` draws with this seed; torch's global generator is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def hash_in_name(path: Path) -> bool:
    """Whether the file is what its name says: torchvision's end with a dash and the first digits of the sha256."""
    _, dash, digits = path.stem.rpartition("-")
    return not dash or checksum(path).startswith(digits)
