"""Speed and memory of `prepare` on the whole kernel tree, beside the way char-rnn and nanoGPT prepare a text."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks._memory import peak_memory
from pipeline.corpora.checksums import read_list, write_list
from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.linux import Linux
from pipeline.corpora.preparation import prepare
from pipeline.corpora.reading import blocks
from pipeline.corpora.sources import fetch


def measure() -> str:
    """A Markdown section: MB/s of the raw text and peak resident memory. Fetches 139 MB and needs 3 GB of disk."""
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch)
        tree = kernel_tree(raw)
        rows = []
        for symbols in ("characters", "bytes"):
            best = min((alone("whole", raw, symbols) for _ in range(2)), key=lambda run: run["seconds"])
            rows.append((f"`prepare`, {tree}, {symbols}, best of two", best))
        listed = alone("listed", raw, "characters")
        rows.append(("one list of dictionary look-ups (nanoGPT's way), first 32 MB", listed))
    speeds = [run["bytes"] / 1e6 / run["seconds"] for _, run in rows]
    lines = [
        f"| {name} | {run['bytes'] / 1e6:,.0f} | {run['seconds']:.1f} | {speed:.0f} | {run['peak']:,} |"
        for (name, run), speed in zip(rows, speeds)
    ]
    head = ["## Preparing a corpus", "", "| what | MB | s | MB/s | peak MiB |", "|---|---:|---:|---:|---:|"]
    verdict = f"Ratio of speeds: {speeds[0] / speeds[2]:.1f}. Wanted: 100 MB/s or more, under 1,024 MiB."
    return "\n".join([*head, *lines, "", verdict])


def kernel_tree(raw: Path) -> str:
    """Puts every .c and .h of Linux into raw/linux; without a source for it, 190 copies of its kernel/ folder."""
    try:
        fetch(corpus("characters", raw), raw, None)
        return "whole tree"
    except CorpusError as error:
        print(error)
    project = Path(__file__).parents[1] / "data/raw/linux"
    card = json.loads((project / "card.json").read_text())
    names = [f"{copy}/{name}" for copy in range(190) for name in read_list(project)]
    for copy in range(190):
        shutil.copytree(project / "files", raw / "linux/files" / str(copy))
    card |= {"request": {"subset": "all"}, "sha256": write_list(raw / "linux", names)}
    (raw / "linux/card.json").write_text(json.dumps(card))
    return "190 times kernel/"


def corpus(symbols: str, raw: Path) -> Linux:
    return Linux(
        folder="linux",
        dataset="pipeline.datasets.text.Text",
        symbols=symbols,
        split="80-10-10",
        prepared=str(raw / "prepared/linux" / symbols),
        prompts=[],
        subset="all",
    )


def alone(what: str, raw: Path, symbols: str) -> dict:
    """Runs one measurement in a process of its own, for peak memory is a process's: bytes, seconds, peak (MiB)."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prepare", what, str(raw), symbols],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def whole(raw: Path, symbols: str) -> int:
    return prepare(corpus(symbols, raw), raw)["raw"]["bytes"]


def listed(raw: Path, symbols: str) -> int:
    """What nanoGPT's prepare.py does with a text: sorted(set()), a list of indices, an array; bytes of text handled."""
    text, size = [], 0
    for block in blocks((f"{raw}/linux/files/{name}" for name in read_list(raw / "linux")), symbols, Counter()):
        text.append(block)
        size += len(block)
        if size > 32_000_000:
            break
    text = "".join(text)
    began = time.perf_counter()
    index = {character: i for i, character in enumerate(sorted(set(text)))}
    np.array([index[character] for character in text], dtype=np.uint16)
    listed.seconds = time.perf_counter() - began
    return len(text.encode())


if __name__ == "__main__":
    began = time.perf_counter()
    measured = {"whole": whole, "listed": listed}[sys.argv[1]]
    size = measured(Path(sys.argv[2]), sys.argv[3])
    seconds = getattr(measured, "seconds", time.perf_counter() - began)
    print(json.dumps({"bytes": size, "seconds": seconds, "peak": peak_memory() >> 20}))
