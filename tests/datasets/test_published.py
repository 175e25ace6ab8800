"""The real packages, where a mirror holds them: facts that their sources state."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.corpora.corpus import corpus_of
from pipeline.corpora.preparation import prepare
from pipeline.corpora.sources import fetch
from tests.conftest import ROOT, composed


@pytest.fixture(scope="module")
def mirror() -> Path:
    folder = Path(os.environ.get("PIPELINE_MIRROR") or ROOT.parent / "shared/data")
    if not list(folder.glob("sktime-1.2.0-*.whl")):
        pytest.skip(f"no packages with numbers in {folder}: set PIPELINE_MIRROR to a folder that holds their wheels")
    return folder


def opened(mirror, folder, *choices):
    corpus = corpus_of(composed(*choices, f"paths.prepared={folder}/prepared").data)
    fetch(corpus, folder / "raw", mirror)
    prepare(corpus, folder / "raw")
    return corpus.open()


def test_vowels(mirror, tmp_path):
    data = opened(mirror, tmp_path, "data=speakers")
    assert {part: len(some) for part, some in data.parts.items()} == {"train": 216, "validation": 54, "test": 370}
    lengths = [len(one.inputs) for some in data.parts.values() for one in some]
    assert (min(lengths), max(lengths)) == (7, 29)
    counts = np.bincount([one.targets[-1] for one in data.parts["test"]])
    assert counts.tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]  # of UCI's own description


def test_stocks(mirror, tmp_path):
    data = opened(mirror, tmp_path, "data=stocks", "data.ticker=AAPL")
    assert len(data.values) == 3269
    assert np.exp(data.values[:, 0].min()) - 1 == pytest.approx(-0.519, abs=5e-4)  # 29 September 2000


def test_chorales(mirror, tmp_path):
    data = opened(mirror, tmp_path, "data=chorales")
    every = np.concatenate([one.inputs for some in data.parts.values() for one in some])
    assert sum(len(some) for some in data.parts.values()) == 362  # 365 in four parts, three of them in two keys
    assert np.flatnonzero(every.any(0))[[0, -1]].tolist() == [36 - 21, 81 - 21]  # C2 to A5: what choirs sing
    assert (every.sum(1) == 4).mean() > 0.85
