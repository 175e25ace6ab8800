"""Checksums: of one file against what its source states, and of all texts of a fetched corpus."""

import hashlib
from pathlib import Path

from pipeline.corpora.corpus import CorpusError

# In data/raw/<corpus>: "sha256  name" of each text in reading order, as `sha256sum -c` reads it in files/.
LIST = "SHA256SUMS"


def sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, size: int | None, checksum: str | None) -> str:
    """sha256 of the file. CorpusError: its size in bytes or its sha256 is not the one given (None: not known)."""
    if size is not None and path.stat().st_size != size:
        raise CorpusError(f"{path.name} has {path.stat().st_size:,} bytes, expected {size:,}")
    found = sha256(path)
    if checksum not in (None, found):
        raise CorpusError(f"{path.name} has sha256 {found}, expected {checksum}")
    return found


def write_list(raw: Path, names: list[str]) -> str:
    """Writes the list of the texts raw/files/<name>, in the order given.

    Returns the sha256 that stands for all of them: of the text itself if it is one, of the list's sorted lines if many.
    """
    sums = [sha256(raw / "files" / name) for name in names]
    lines = [f"{checksum}  {name}\n" for checksum, name in zip(sums, names)]
    (raw / LIST).write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    together = "".join(sorted(lines)).encode("utf-8", errors="surrogateescape")
    return sums[0] if len(sums) == 1 else hashlib.sha256(together).hexdigest()


def read_list(raw: Path) -> dict[str, str]:
    """Name and sha256 of each text of a fetched corpus, in reading order."""
    lines = (raw / LIST).read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    return {line[66:]: line[:64] for line in lines if line}


def intact(raw: Path) -> bool:
    """Whether every text of the list is there, unchanged."""
    try:
        return all(sha256(raw / "files" / name) == checksum for name, checksum in read_list(raw).items())
    except OSError:
        return False
