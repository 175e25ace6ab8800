"""Pictures and their classes: a checksum of them, and sequences of them in letters, for people at a terminal.

Shapes: N pictures, T of a sequence, D = C H W numbers of each.
"""

import hashlib

import numpy as np
import torch

from pipeline.datasets.data import Data
from pipeline.datasets.episodes import SHOWN, Sequence, guessed, side_by_side
from pipeline.datasets.space import Image
from pipeline.decoding.network import Network, evaluating

Pool = tuple[np.ndarray, np.ndarray]  # pictures [N, H, W], 0..255, and their classes [N]
SHADES = " ░▒▓█"
COLUMNS = 14  # of a sketch, at most


def checksum(pools: dict[str, Pool], *settings: object) -> str:
    """sha256 of all pictures and classes, of the parts that they are in, and of settings."""
    found = hashlib.sha256(repr(settings).encode())
    for part, arrays in pools.items():
        for one in arrays:
            found.update(f"{part} {one.shape}".encode())
            found.update(np.ascontiguousarray(one))
    return found.hexdigest()


def sketched(space: Image, pictures: np.ndarray) -> list[str]:
    """Pictures [T, D], from 0, left blank, to 1: the lines of their sketches, side by side. A letter is twice as high
    as wide, and stands for the mean of the pixels below it."""
    grey = pictures.reshape(len(pictures), *space.shape).mean(1)
    _, height, width = space.shape
    step = -(-width // COLUMNS)
    columns, rows = -(-width // step), -(-height // (2 * step))
    whole = np.zeros((len(grey), rows * 2 * step, columns * step))
    whole[:, :height, :width] = grey
    means = whole.reshape(len(grey), rows, 2 * step, columns, step).mean((2, 4))
    shades = np.clip(np.rint(means * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int)
    return [" ".join("".join(SHADES[one] for one in picture[row]) for picture in shades) for row in range(rows)]


@torch.no_grad()
def pictured(data: Data, network: Network, sequence: Sequence, length: int) -> str:
    """A sequence of pictures, its first `length` at most: their sketches, below them the network's answers and the
    right ones.

    data  with the names of its `classes`
    """
    batch = side_by_side(data, [sequence]).to(network.device, network.dtype)
    with evaluating(network):
        z, _ = network(batch.inputs, network.start(1))
    shown = slice(0, min(length, SHOWN))
    answers, right = guessed(data.answers, z[shown, 0]).tolist(), sequence.targets[shown].tolist()
    lines = sketched(data.reads, sequence.inputs[shown])
    width = (len(lines[0]) + 1) // len(right)
    names = (*data.classes, "·")
    asked = [answer if one < len(data.classes) else one for answer, one in zip(answers, right)]
    lines += ["".join(names[one][: width - 1].ljust(width) for one in some) for some in (asked, right)]
    heads = ["read", *[""] * (len(lines) - 3), "answer", "right"]
    return "\n".join(f"{head:8}{line}".rstrip() for head, line in zip(heads, lines)) + "\n\n"
