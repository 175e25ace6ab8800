"""A corpus from the first of its sources that has it: a site's mirror, its official home, a package."""

import contextlib
import datetime
import errno
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from pipeline.command.refusal import Refusal
from pipeline.corpora.checksums import read_texts, verify, write_list
from pipeline.corpora.corpus import CorpusError, Original, Published, in_a_line
from pipeline.files.landing import landing, lock
from pipeline.files.whole import read_json

PLACES = {
    "official": 1,
    "path": 1,
    "generated": 1,
    "pip": 2,
    "apt": 2,
}  # order in which kinds of sources are tried; a mirror is first
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no other source helps


class Source(TypedDict):
    """Where a corpus was fetched from."""

    kind: str
    where: str


class Card(TypedDict):
    """What data/raw/<corpus>/card.json says of what was fetched."""

    corpus: str
    request: dict[str, Any]
    source: Source
    version: str | None
    files: int
    bytes: int
    sha256: str  # see checksums.write_list
    licence: str
    fetched: str


@dataclass(frozen=True)
class InMirror:
    """An original that lies in a site's mirror: a file, or a folder where it is a set of many."""

    where: str
    kind = "mirror"

    def get(self, folder: Path) -> tuple[Path, None]:
        if not Path(self.where).exists():
            raise CorpusError("no such file in the mirror")
        return Path(self.where), None


def fetch(corpus: Published, root: Path, mirror: Path | None) -> dict:
    """Puts the corpus's files into root/<name>/files, with SHA256SUMS and card.json beside; returns the card.

    What is there, intact, is kept. Raises CorpusError where no source has the corpus, or the mirror is missing; OSError
    for a disk that cannot take it.
    """
    directory = corpus.raw(root)
    if mirror is not None and not mirror.is_dir():
        raise CorpusError(
            f"the mirror {in_a_line(mirror)} is no folder: correct PIPELINE_MIRROR or paths.mirror, or unset it"
        )
    with lock(directory, root):
        card = None if corpus.changes else intact(directory, corpus.request())
        why = outdated(card, corpus) if card else None
        if why:
            print(f"{corpus.folder}: {why}")
        elif card:
            print(f"{corpus.folder}: already in {directory}, intact ({describe(card)})")
            return card
        failures = []
        for source, original in sources(corpus, mirror):
            place = f"{source.kind} {in_a_line(source.where)}"
            print(f"{corpus.folder}: trying {place}", flush=True)
            try:
                card = fetch_from(source, original, corpus, root)
            except (CorpusError, OSError) as error:
                if isinstance(error, OSError) and error.errno in NO_ROOM:
                    raise OSError(error.errno, error.strerror, str(directory)) from error
                failures.append(f"{place}: {reason(error)}")
                print(f"  {failures[-1]}")
            else:
                print(f"{corpus.folder}: in {directory} ({describe(card)})")
                return card
    names = [original.name for original in corpus.originals() if original.name]
    mend = f": put {' or '.join(names)} into a folder and set PIPELINE_MIRROR to it" if names else ""
    raise CorpusError(f"no source has {corpus.folder}: {'; '.join(failures)}{mend}")


def intact(directory: Path, request: dict) -> dict | None:
    """The card of what was fetched into `directory`, if that is all there, unchanged, and what `request` asks for."""
    try:
        card = read_card(directory, "")
        if card and card["request"] == request:
            read_texts(directory, card["sha256"], "")
            return card
    except (Refusal, OSError):  # damaged, or not to be read: it is fetched again
        pass
    return None


def outdated(card: dict, corpus: Published) -> str | None:
    """Why what was fetched is no longer what its original is, in a line: another version or sha256 is stated. None: it
    is; or nothing is stated, as of a package in whatever version there is."""
    source, stated = card["source"], []
    for original in corpus.originals():
        from_mirror = source["kind"] == "mirror" and original.name == Path(source["where"]).name
        if from_mirror or original.getter and original.getter.kind == source["kind"]:
            stated.append((original.version, original.sha256))
    found = card["version"], source.get("sha256")
    if not stated or any(all(None in both or both[0] == both[1] for both in zip(found, one)) for one in stated):
        return None
    version, sha256 = stated[0]
    if None not in (found[0], version) and found[0] != version:
        return f"version {found[0]} was fetched, {version} is wanted now"
    return f"what was fetched has sha256 {found[1]}, {sha256} is wanted now"


def reason(error: Exception) -> str:
    """Why a source failed, in a line: of the file system's errors the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{in_a_line(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def sources(corpus: Published, mirror: Path | None) -> Iterator[tuple]:
    """Pairs (getter, original) in the order in which they are tried."""
    originals = corpus.originals()
    if mirror is not None:
        yield from ((InMirror(str(mirror / original.name)), original) for original in originals if original.name)
    with_getter = [original for original in originals if original.getter]
    yield from ((original.getter, original) for original in sorted(with_getter, key=lambda o: PLACES[o.getter.kind]))


def fetch_from(source, original: Original, corpus: Published, root: Path) -> dict:
    """Fetches the corpus from one source; returns its card. CorpusError or OSError: why not."""
    downloads = root / f".{corpus.folder}.downloads"
    downloads.mkdir(exist_ok=True)
    try:
        path, version = source.get(downloads)
    except BaseException:
        with contextlib.suppress(OSError):  # what a cut download has left stays for the next attempt
            downloads.rmdir()
        raise
    try:
        where = {"kind": source.kind, "where": source.where}
        if path.is_file():
            where["sha256"] = verify(path, original.bytes, original.sha256)
        with landing(root / corpus.folder, root) as folder:
            (folder / "files").mkdir()
            names = original.place(path, folder / "files")
            if not names:
                raise CorpusError("it has no file that matches")
            card = {
                "corpus": corpus.folder,
                "request": corpus.request(),
                "source": where,
                "version": original.version or version,
                "files": len(names),
                "bytes": sum((folder / "files" / name).stat().st_size for name in names),
                "sha256": write_list(folder, names),
                "licence": original.licence,
                "fetched": datetime.date.today().isoformat(),
            }
            (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    finally:  # a whole download is of no further use, good or bad; a cut one stays for the next attempt
        shutil.rmtree(downloads, ignore_errors=True)
    return card


def read_card(directory: Path, mend: str) -> dict | None:
    """The card of a fetched corpus, None if there is none. Raises Refusal, with `mend`, where it is damaged."""
    path = directory / "card.json"
    return read_json(path, mend, Card) if path.exists() else None


def describe(card: dict) -> str:
    source = card["source"]
    return (
        f"{card['files']:,} file{'s'[: card['files'] != 1]}, {card['bytes']:,} bytes "
        f"from {source['kind']} {in_a_line(source['where'])}, version {card['version']}, {card['licence']}"
    )
