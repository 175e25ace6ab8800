"""Features of photographs as they are made and kept, beside the bare encoder over the same files."""

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset

from pipeline.encoders.efficientnet_lite import EfficientNetLite
from pipeline.encoders.encoder import Encoder
from pipeline.encoders.features import AT_ONCE, features

COUNT, ROUNDS = 160, 3
WIDTH, HEIGHT = 640, 480


class Files(Dataset):
    """JPEG files as a set of pictures, and as a plain data set."""

    def __init__(self, paths: list[Path], encoder: Encoder):
        self.paths, self.encoder = paths, encoder
        self.card = {"corpus": "photographs", "pictures": "0" * 64}

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, k: int) -> Image.Image:
        return Image.open(self.paths[k]).convert("RGB")

    def __getitem__(self, k: int) -> torch.Tensor:
        return torch.from_numpy(self.encoder.preprocess(self.open(k)).copy())


def measure() -> str:
    """A Markdown section: pictures a second."""
    encoder, device = EfficientNetLite(0, None, 1, 0.875, False), "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as scratch:
        files = Files(photographs(Path(scratch)), encoder)
        ways = {
            "a loop: decode, encode, forget": lambda: bare(files, encoder, device, 0),
            "`DataLoader` with a worker a core, encode, forget": lambda: bare(files, encoder, device, cores()),
            "ours: `features`, kept on the disk": lambda: np.array(
                features(files, encoder, Path(tempfile.mkdtemp(dir=scratch)))
            ),
        }
        rounds = [{name: timed(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    found = {name: [one[name][2] for one in rounds] for name in ways}
    *others, ours = ways
    apart = max(float(np.abs(found[ours][0] - found[name][0]).max()) for name in others)
    lines = []
    for name in ways:
        wall = statistics.median(COUNT / one[name][0] for one in rounds)
        processor = statistics.median(1000 * one[name][1] / COUNT for one in rounds)
        ratios = [statistics.median(one[name][k] / one[ours][k] for one in rounds) for k in (0, 1)]
        lines.append(f"| {name} | {wall:.1f} | {processor:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    head = [
        "## Features of pictures",
        "",
        f"{COUNT} photographs of {WIDTH} x {HEIGHT} as JPEG, EfficientNet-Lite0 at 224 x 224, {AT_ONCE[device]} at a "
        f"time on the {'GPU' if device == 'cuda' else 'CPU'}, {cores()} cores, medians of {ROUNDS} rounds in turn. All "
        "three decode and encode the same files with the same network; ours lets the features land block by block and "
        "checks them. Processor time is of all processes, and steadier where a machine is shared.",
        "",
        "| | pictures/s | processor, ms a picture | ours is so many times as fast | by processor time |",
        "|---|---:|---:|---:|---:|",
    ]
    verdict = f"Largest difference of a feature: {apart:.0e}. Wanted: 0.9 times as fast or more."
    return "\n".join([*head, *lines, "", verdict])


def photographs(folder: Path) -> list[Path]:
    """Cuts of scikit-learn's two photographs."""
    rng, paths = np.random.default_rng(0), []
    originals = [Image.fromarray(one) for one in load_sample_images().images]
    for k in range(COUNT):
        left, top = rng.integers(0, 100, size=2).tolist()
        cut = originals[k % 2].resize((WIDTH, HEIGHT), box=(left, top, left + 500, top + 320))
        paths.append(folder / f"{k:04}.jpg")
        cut.save(paths[-1], quality=90)
    return paths


@torch.inference_mode()
@torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # a GPU computes as `features` has it do
def bare(files: Files, encoder: Encoder, device: str, workers: int) -> np.ndarray:
    network = encoder.network().to(device, memory_format=torch.channels_last)
    loader = DataLoader(files, batch_size=AT_ONCE[device], num_workers=workers)
    return np.concatenate([network(batch.to(device)).cpu().numpy() for batch in loader])


def timed(way: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Seconds that passed, and seconds of processors, those of ended children too."""
    started, before = time.perf_counter(), processor_seconds()
    found = way()
    return time.perf_counter() - started, processor_seconds() - before, found


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def cores() -> int:
    return len(os.sched_getaffinity(0))
