"""A small pronouncing dictionary, fetched and prepared as the real one is, for tests."""

import json
import zipfile
from pathlib import Path

import numpy as np

from pipeline.corpora import preparation
from pipeline.corpora.checksums import write_list
from pipeline.corpora.corpus import corpus_of
from pipeline.datasets.pronunciation import FILE, PHONES, place_dictionary
from tests.conftest import composed


def lines(words: int = 120, seed: int = 0) -> str:
    """Made-up words, each letter with a phone of its own, and some with a further pronunciation without the last."""
    rng, found = np.random.default_rng(seed), []
    for word in sorted({"".join(rng.choice(list("abcdefgh"), rng.integers(2, 7))) for _ in range(words)}):
        phones = [PHONES[ord(letter) - ord("a")] for letter in word]
        found.append(f"{word} {phones[0]}1 {' '.join(phones[1:])} # a remark")
        if len(word) == 5:
            found.append(f"{word}(2) {' '.join(phones[:-1])}")
    return "\n".join(found) + "\n"


def prepared_dictionary(folder: Path, text: str | None = None) -> list[str]:
    """Prepares it below `folder`; returns the overrides that let a run use it and stay there."""
    overrides = ["data=pronunciation", "scale=smoke", "tracking.uri=null"]
    overrides += [f"paths.{one}={folder / one}" for one in ("raw", "prepared", "runs", "results")]
    wheel, raw = folder / "a.whl", folder / "raw" / "pronunciation"
    (raw / "files").mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(FILE, lines() if text is None else text)
    names = place_dictionary(wheel, raw / "files")
    card = {"corpus": "pronunciation", "request": {}, "source": {"kind": "path", "where": "here"}, "version": "0"}
    card |= {"files": 1, "bytes": 1, "sha256": write_list(raw, names), "licence": "none", "fetched": "today"}
    (raw / "card.json").write_text(json.dumps(card))
    preparation.prepare(corpus_of(composed(*overrides).data), folder / "raw")
    return overrides
