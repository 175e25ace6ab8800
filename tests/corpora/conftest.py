"""Corpora of a test's own, and the real ones where a mirror holds them."""

import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.sources import fetch
from pipeline.corpora.text import Text

TEXT = "pipeline.datasets.text.Text"


def spoil(path: Path, damage: str) -> None:
    """Does to a file what disks and people do."""
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        noise = random.Random(0).randbytes(len(content))
        half = content[: len(content) // 2]
        other = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]  # one bit
        path.write_bytes(
            {"cut": half, "zero": bytes(len(content)), "noise": noise, "empty": b"", "other": other}[damage]
        )


@pytest.fixture
def text(tmp_path):
    """Makes the corpus of a file or folder: text(path, symbols=..., split=...), prepared below tmp_path."""

    def make(path, symbols="characters", split="80-10-10", **more) -> Text:
        prepared = tmp_path / f"prepared/text/{symbols}-{split}"
        return Text(
            folder="text",
            symbols=symbols,
            split=split,
            prepared=str(prepared),
            prompts=[],
            dataset=TEXT,
            path=str(path),
            **more,
        )

    return make


@pytest.fixture
def fetched(tmp_path, text):
    """Fetches a corpus of given files: fetched(b"...", b"...", symbols=...); returns it and its raw root."""

    def make(*contents: bytes, **choices):
        folder = tmp_path / "texts"
        folder.mkdir(exist_ok=True)
        for number, content in enumerate(contents):
            (folder / f"{number:03}.txt").write_bytes(content)
        corpus = text(folder, **choices)
        fetch(corpus, tmp_path / "raw", None)
        return corpus, tmp_path / "raw"

    return make


@dataclass
class Listed(Corpus):
    """A corpus of the sources that a test lists."""

    listed: tuple = ()

    def originals(self) -> list[Original]:
        return list(self.listed)


@pytest.fixture
def listed(tmp_path):
    def make(*originals: Original) -> Listed:
        prepared = tmp_path / "prepared/listed/characters-80-10-10"
        return Listed("listed", "characters", "80-10-10", str(prepared), [], TEXT, originals)

    return make


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of real originals: PIPELINE_MIRROR, or ../shared/data beside the project."""
    folder = Path(os.environ.get("PIPELINE_MIRROR") or Path(__file__).parents[3] / "shared/data")
    if not (folder / "tinyshakespeare.txt").exists():
        pytest.skip(f"no real originals in {folder}: set PIPELINE_MIRROR to a folder that holds tinyshakespeare.txt")
    return folder
