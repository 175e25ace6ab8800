"""A corpus from the first of its sources that has it: a site's mirror, its official home, a package."""

import datetime
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpora.checksums import intact, verify, write_list
from pipeline.corpora.corpus import Corpus, CorpusError, Original
from pipeline.files.landing import landing, lock

PLACES = {"official": 1, "path": 1, "pip": 2, "apt": 2}  # order in which kinds of sources are tried; a mirror is first


@dataclass(frozen=True)
class InMirror:
    """An original that lies in a site's mirror."""

    where: str
    kind = "mirror"

    def get(self, folder: Path) -> tuple[Path, None]:
        if not Path(self.where).is_file():
            raise CorpusError("no such file in the mirror")
        return Path(self.where), None


def fetch(corpus: Corpus, root: Path, mirror: Path | None) -> dict:
    """Puts the corpus's texts into root/<name>/files, with SHA256SUMS and card.json beside; returns the card.

    What is there, intact, is kept. CorpusError: no source has the corpus (one line a source), or the mirror is missing.
    """
    directory = corpus.raw(root)
    if mirror is not None and not mirror.is_dir():
        raise CorpusError(f"the mirror {mirror} is no folder: correct PIPELINE_MIRROR or paths.mirror, or unset it")
    with lock(directory, root):
        card = read_card(directory)
        if card and card["request"] == corpus.request() and not corpus.changes and intact(directory):
            print(f"{corpus.folder}: already in {directory}, intact ({describe(card)})")
            return card
        failures = []
        for source, original in sources(corpus, mirror):
            print(f"{corpus.folder}: trying {source.kind} {source.where}", flush=True)
            try:
                card = fetch_from(source, original, corpus, root)
            except (CorpusError, OSError) as error:
                failures.append(f"  {source.kind} {source.where}: {error}")
                print(failures[-1])
            else:
                print(f"{corpus.folder}: in {directory} ({describe(card)})")
                return card
    names = [original.name for original in corpus.originals() if original.name]
    mend = f"\nPut {' or '.join(names)} into a folder and set PIPELINE_MIRROR to it." if names else ""
    raise CorpusError(f"no source has {corpus.folder}:\n" + "\n".join(failures) + mend)


def sources(corpus: Corpus, mirror: Path | None) -> Iterator[tuple]:
    """Pairs (getter, original) in the order in which they are tried."""
    originals = corpus.originals()
    if mirror is not None:
        yield from ((InMirror(str(mirror / original.name)), original) for original in originals if original.name)
    with_getter = [original for original in originals if original.getter]
    yield from ((original.getter, original) for original in sorted(with_getter, key=lambda o: PLACES[o.getter.kind]))


def fetch_from(source, original: Original, corpus: Corpus, root: Path) -> dict:
    """Fetches the corpus from one source; returns its card. CorpusError or OSError: why not."""
    downloads = root / f".{corpus.folder}.downloads"
    downloads.mkdir(exist_ok=True)
    path, version = source.get(downloads)
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


def read_card(directory: Path) -> dict | None:
    """The card of a fetched or prepared corpus, None if there is none."""
    path = directory / "card.json"
    return json.loads(path.read_text()) if path.exists() else None


def describe(card: dict) -> str:
    source = card["source"]
    return (
        f"{card['files']:,} file{'s'[: card['files'] != 1]}, {card['bytes']:,} bytes "
        f"from {source['kind']} {source['where']}, version {card['version']}, {card['licence']}"
    )
