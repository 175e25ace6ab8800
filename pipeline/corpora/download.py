"""HTTP downloads that resume after a cut."""

import re
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm

from pipeline.corpora.corpus import CorpusError

TIMEOUT = (5, 30)  # seconds to connect, and between two pieces of the answer
PIECE = 1 << 16  # bytes written at once; a cut loses the piece it falls into
CUTS = 5  # cuts with progress between them before giving up


@dataclass(frozen=True)
class Official:
    """The corpus's home on the web."""

    where: str
    kind = "official"

    def get(self, folder: Path) -> tuple[Path, None]:
        return download(self.where, folder / self.where.rpartition("/")[2]), None


def download(url: str, path: Path, bar: bool = True) -> Path:
    """Downloads `url` to `path`; an earlier attempt's `<path>.part` is continued if the server's file is the same.

    bar  whether its progress is shown
    Cuts are mended by asking for the rest. CorpusError: no connection, an HTTP error, or CUTS cuts.
    """
    part = path.with_name(path.name + ".part")
    for _ in range(CUTS):
        before = size(part)
        try:
            transfer(url, part, bar)
        except requests.RequestException as error:
            if size(part) <= before:
                raise CorpusError(reason(error)) from error
        else:
            part.replace(path)
            validator_of(part).unlink(missing_ok=True)
            return path
    raise CorpusError(f"the connection was cut {CUTS} times; fetch again to go on from {size(part):,} bytes")


def transfer(url: str, part: Path, shown: bool = True) -> None:
    """One request that completes `part`; what arrives before a cut stays in it. RequestException: cut or refused."""
    # Without a validator (ETag or date) of the file that began in `part`, the rest could be of another file.
    validator = validator_of(part).read_text() if validator_of(part).exists() else None
    offset = size(part) if validator else 0
    headers = {"Accept-Encoding": "identity"}  # sizes and ranges are of the file itself
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        content_range = answer.headers.get("Content-Range", "")
        if offset and answer.status_code == 416:  # nothing after `offset`: complete, or a shorter file than before
            if content_range == f"bytes */{offset}":
                return
            part.unlink()
            return transfer(url, part, shown)
        if answer.status_code not in (200, 206):
            raise CorpusError(f"HTTP {answer.status_code} {answer.reason}")
        goes_on = answer.status_code == 206 and content_range.startswith(f"bytes {offset}-")
        if answer.status_code == 206 and not goes_on:
            raise CorpusError(f"asked for bytes from {offset}, the server sent Content-Range {content_range!r}")
        if not goes_on:
            offset = 0
            keep_validator(part, answer.headers)
        length = int(answer.headers.get("Content-Length", 0)) + offset or None
        with (
            part.open("ab" if goes_on else "wb") as file,
            tqdm(
                desc=part.stem,
                total=length,
                initial=offset,
                unit="B",
                unit_scale=True,
                disable=None if shown else True,
            ) as bar,
        ):
            for piece in answer.iter_content(PIECE):
                file.write(piece)
                bar.update(len(piece))


def keep_validator(part: Path, headers) -> None:
    validator = headers.get("ETag", "W/")
    validator = headers.get("Last-Modified", "") if validator.startswith("W/") else validator
    part.unlink(missing_ok=True)
    validator_of(part).write_text(validator)


def validator_of(part: Path) -> Path:
    return part.with_name(part.name + ".validator")


def size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def reason(error: Exception) -> str:
    """The cause within a requests error, in a few words: its text names it last, within several wrappers."""
    found = re.findall(r"\[Errno -?\d+\] [^'\")]+|timed out", str(error))
    return f"cannot connect ({found[-1]})" if found else f"{type(error).__name__}: {str(error)[:120]}"
