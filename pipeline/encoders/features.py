"""Features of a set of pictures: made once, block by block, and memory-mapped by whoever reads them.

Shapes: N pictures, F features, S pixels a side.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import torch
from annotated_types import Ge
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from typing_extensions import TypedDict

from pipeline.command.refusal import Refusal
from pipeline.corpora.verified import Sum, sha256, verify
from pipeline.encoders.encoder import Encoder
from pipeline.files.landing import lock
from pipeline.files.whole import naming, read_json, write_json

BLOCK = 256  # pictures whose features land together
AT_ONCE = {"cpu": 8, "cuda": 32}  # pictures of a batch; they divide a block
PREFETCHED = 2  # batches that each worker has ready


class Pictures(Protocol):
    """pipeline.corpora.pictures.Pictures: what is asked of it."""

    card: dict  # "corpus", and "pictures", a checksum of the pictures in their order

    def __len__(self) -> int: ...

    def open(self, number: int) -> Image.Image: ...


class Card(TypedDict):
    """What card.json in a folder of features says."""

    encoder: str
    key: str
    pictures: str
    files: dict[str, Sum]


class Made(TypedDict):
    """How many pictures' features are in the file, while it is being made."""

    pictures: Annotated[int, Ge(0)]


class Decoded(Dataset):
    """Batches of pictures as the encoder's network reads them, [B, 3, S, S], uint8, in shared memory; or in one line
    why a picture cannot be read. A decoded picture is let go as soon as it is scaled."""

    def __init__(self, pictures: Pictures, encoder: Encoder, batches: list[range]):
        self.pictures, self.encoder, self.batches = pictures, encoder, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> torch.Tensor | str:
        batch, size = self.batches[number], self.encoder.size
        found = torch.empty(len(batch), 3, size, size, dtype=torch.uint8).share_memory_()
        for row, k in zip(found.numpy(), batch):
            try:
                row[...] = self.encoder.preprocess(self.pictures.open(k))
            except Refusal as why:  # as text: a worker's exception would come with a page of its traces
                return str(why)
        return found


def features(pictures: Pictures, encoder: Encoder, root: Path) -> np.ndarray:
    """The features of all pictures, [N, F], float32, memory-mapped; of an encoder that is to be learned what it reads,
    [N, 3 S S], uint8. What is missing is made first, under a lock, going on where a killed process was.

    root  a folder for a folder of each encoder's features of each set of pictures
    Raises Refusal, naming it, for a picture that cannot be read; for features that are damaged.
    """
    of_pictures = pictures.card["pictures"]
    directory = root / f"{folder_of(encoder)}-{encoder.key[:12]}-{of_pictures[:12]}"
    if not (directory / "card.json").exists():
        with lock(directory, root):
            if not (directory / "card.json").exists():
                make(pictures, encoder, directory)
    mend = f"remove {directory}: they are made again"
    card = read_json(directory / "card.json", mend, Card)
    if (card["key"], card["pictures"]) != (encoder.key, of_pictures):
        raise Refusal(f"{directory} holds the features of another encoder or of other pictures: {mend}")
    verify(directory, card["files"], root, mend)
    return np.load(directory / "features.npy", mmap_mode="r", allow_pickle=False)


def folder_of(encoder: Encoder) -> str:
    return f"{encoder.label}-pictures" if encoder.fine_tune else encoder.label


def make(pictures: Pictures, encoder: Encoder, directory: Path) -> None:
    """Makes features.npy, a block at a time, and its card once it is whole. A block counts when it is on the disk:
    made.json says how many pictures do. Needs the lock."""
    directory.mkdir(parents=True, exist_ok=True)
    path, made = directory / "features.npy", directory / "made.json"
    width, dtype = (3 * encoder.size**2, "|u1") if encoder.fine_tune else (encoder.width, "<f4")
    row = width * np.dtype(dtype).itemsize
    with naming(path), open(path, "r+b" if made.exists() and path.exists() else "w+b") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": dtype, "fortran_order": False, "shape": (len(pictures), width)}
        )
        header, done = file.tell(), read_json(made, f"remove {directory}", Made)["pictures"] if made.exists() else 0
        if os.fstat(file.fileno()).st_size < header + done * row:
            done = 0
        file.truncate(header + done * row)
        file.seek(0, os.SEEK_END)
        with tqdm(
            desc=f"features by {encoder.label}", total=len(pictures), initial=done, unit="picture", disable=None
        ) as bar:
            for block in _blocks(pictures, encoder, done, bar):
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
                done += len(block)
                write_json(made, {"pictures": done})
    files = {path.name: Sum(bytes=path.stat().st_size, sha256=sha256(path))}
    write_json(
        directory / "card.json",
        {"encoder": encoder.label, "key": encoder.key, "pictures": pictures.card["pictures"], "files": files},
    )
    made.unlink(missing_ok=True)


def _blocks(pictures: Pictures, encoder: Encoder, done: int, bar: tqdm) -> Iterator[np.ndarray]:
    """The features of pictures done.., BLOCK at a time; the same whatever `done`, so that a continuation ends as if
    there had been none."""
    block: list[np.ndarray] = []
    for batch in encoded(pictures, encoder, range(done, len(pictures))):
        block.append(batch)
        bar.update(len(batch))
        if sum(map(len, block)) == BLOCK:
            yield np.concatenate(block)
            block = []
    if block:
        yield np.concatenate(block)


def encoded(pictures: Pictures, encoder: Encoder, numbers: range, workers: int | None = None) -> Iterator[np.ndarray]:
    """Features of pictures, or what an encoder that is to be learned reads, batch by batch, in order.

    workers  processes that decode beside the one that encodes; None: one for each core, where it is worth it
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = AT_ONCE[device]
    batches = [numbers[first : first + size] for first in range(0, len(numbers), size)]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if len(batches) > PREFETCHED else 0
    loader = DataLoader(
        Decoded(pictures, encoder, batches),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
    )
    network = None if encoder.fine_tune else encoder.network().to(device, memory_format=torch.channels_last)
    for batch in loader:
        if isinstance(batch, str):
            raise Refusal(batch)
        yield batch.flatten(1).numpy() if network is None else encode(network, batch)


@torch.inference_mode()
def encode(network: torch.nn.Module, batch: torch.Tensor) -> np.ndarray:
    """Features [B, F], float32, of pictures [B, 3, S, S]."""
    device = next(iter(network.buffers())).device
    with _every_core(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return network(batch.to(device, non_blocking=True)).float().cpu().numpy()


@contextmanager
def _every_core() -> Iterator[None]:
    """Or as OMP_NUM_THREADS says, also where training takes fewer."""
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
    try:
        yield
    finally:
        torch.set_num_threads(before)
