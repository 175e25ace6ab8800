"""Numbers that are published: series, measurements, scores; kept as arrays, whatever form they were published in."""

import hashlib
import io
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.corpora.corpus import CorpusError, Published
from pipeline.corpora.prepared import ArraysCard, brought
from pipeline.corpora.verified import Sum


@dataclass
class Arrays(Published):
    """Numbers to fetch and prepare. A subclass, in a file of pipeline/datasets, lists `originals`, makes `arrays` of
    them, and its `open` makes data of what `read` returns: what a setting changes there needs no preparation."""

    prepared: str  # where `prepare` puts the arrays

    @property
    def directory(self) -> Path:
        return Path(self.prepared)

    @abstractmethod
    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """The fetched files, in reading order -> name -> array of numbers. CorpusError: they are not what they are to
        be."""

    def read(self, local: str | None = None) -> dict[str, np.ndarray]:
        """The prepared arrays, memory-mapped; from a copy in the folder `local` if one is named. Raises Refusal where
        they were not prepared or are damaged."""
        directory, card, _ = brought(self.directory, local, self.words(), ArraysCard)
        return {
            name.removesuffix(".npy"): np.load(directory / name, mmap_mode="r", allow_pickle=False)
            for name in card["files"]
        }


def write_arrays(published: Arrays, paths: list[Path], folder: Path, raw: dict) -> dict:
    """Writes <name>.npy for each array of the fetched files into `folder`; returns the card.

    The fingerprint is the sha256 of the names and of all that the files hold. CorpusError: there is nothing in an
    array, or what is no number.
    """
    checksum, files = hashlib.sha256(), {}
    for name, array in published.arrays(paths).items():
        if not array.size or array.dtype.kind not in "iufb" or not np.isfinite(array).all():
            raise CorpusError(f"{published.folder}: its {name} are not finite numbers: fetch the file again")
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(array), allow_pickle=False)
        (folder / f"{name}.npy").write_bytes(content.getbuffer())
        digest = hashlib.sha256(content.getbuffer()).hexdigest()
        files[f"{name}.npy"] = Sum(bytes=content.getbuffer().nbytes, sha256=digest)
        checksum.update(f"{name} {digest}\n".encode())
    return {"corpus": published.folder, "fingerprint": checksum.hexdigest(), "files": files, "raw": raw}
