"""Checksums: of one file against what its source states, and of all texts of a fetched corpus."""

import hashlib
import re
from pathlib import Path

from tqdm import tqdm

from pipeline.corpora.corpus import CorpusError, in_a_line
from pipeline.corpora.verified import sha256

# In data/raw/<corpus>: "sha256  name" of each text in reading order, as `sha256sum -c` reads it in files/.
LIST = "SHA256SUMS"
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}  # of names, in lines that begin with a backslash: sha256sum's own


def verify(path: Path, size: int | None, checksum: str | None) -> str:
    """sha256 of the file. CorpusError: its size in bytes or its sha256 is not the one given (None: not known)."""
    if size is not None and path.stat().st_size != size:
        raise CorpusError(f"{in_a_line(path.name)} has {path.stat().st_size:,} bytes, expected {size:,}")
    found = sha256(path)
    if checksum not in (None, found):
        raise CorpusError(f"{in_a_line(path.name)} has sha256 {found}, expected {checksum}")
    return found


def write_list(raw: Path, names: list[str]) -> str:
    """Writes the list of the texts raw/files/<name>, in the order given.

    Returns the sha256 that stands for all of them: of the text itself if it is one, of the list's sorted lines if many.
    """
    sums = {name: sha256(raw / "files" / name) for name in _slowly(names)}
    (raw / LIST).write_bytes(b"".join(_lines(sums)))
    return _together(sums)


def read_list(raw: Path, mend: str = "fetch again") -> dict[str, str]:
    """Name and sha256 of each text of a fetched corpus, in reading order. Raises CorpusError, with `mend`, where the
    list is missing or damaged."""
    try:
        lines = (raw / LIST).read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except FileNotFoundError:
        raise CorpusError(f"{raw / LIST} is missing: {mend}") from None
    sums = {}
    for line in lines[:-1]:
        found = re.fullmatch(r"(\\?)([0-9a-f]{64})  (.+)", line, re.DOTALL)
        if not found:
            raise CorpusError(f"{raw / LIST} is damaged (it has a line that is no checksum): {mend}")
        sums[_unescaped(found[3]) if found[1] else found[3]] = found[2]
    return sums


def _unescaped(name: str) -> str:
    plain = {escape: one for one, escape in ESCAPES.items()}
    return re.sub(r"\\.", lambda escape: plain.get(escape[0], escape[0]), name)


def read_texts(raw: Path, together: str, mend: str) -> list[Path]:
    """The texts of a fetched corpus in reading order, each as it was fetched.

    together  what write_list returned
    Raises CorpusError, with `mend`, where the list or a text is missing or has changed.
    """
    sums = read_list(raw, mend)
    if _together(sums) != together:
        raise CorpusError(f"{raw / LIST} is damaged (its sha256 is not the one on the card): {mend}")
    paths = [raw / "files" / name for name in sums]
    for path, checksum in _slowly(list(zip(paths, sums.values()))):
        if not path.is_file():
            raise CorpusError(f"{in_a_line(path)} is missing: {mend}")
        if sha256(path) != checksum:
            raise CorpusError(f"{in_a_line(path)} has changed since it was fetched (its sha256 is another): {mend}")
    return paths


def _slowly(files: list) -> tqdm:
    """With a bar if it takes longer than a few seconds."""
    return tqdm(files, "checksums", unit=" files", disable=None, delay=3)


def _lines(sums: dict[str, str]) -> list[bytes]:
    return [_line(name, checksum).encode("utf-8", "surrogateescape") for name, checksum in sums.items()]


def _line(name: str, checksum: str) -> str:
    escaped = "".join(ESCAPES.get(one, one) for one in name)
    return "\\" * (escaped != name) + f"{checksum}  {escaped}\n"


def _together(sums: dict[str, str]) -> str:
    return next(iter(sums.values())) if len(sums) == 1 else hashlib.sha256(b"".join(sorted(_lines(sums)))).hexdigest()
