"""The first 100 million bytes of Wikipedia, as they are and without markup (Mahoney 2006)."""

from pathlib import Path

from pipeline.corpora.corpus import Corpus, CorpusError, Original
from pipeline.corpora.download import Official
from pipeline.corpora.unpack import from_zip

SIZE = 100_000_000  # bytes


class Enwik8(Corpus):
    """XML and wikitext in UTF-8, 100 MB; the customary parts are 90, 5 and 5 million bytes."""

    usual = {"symbols": "bytes", "split": "90-5-5"}
    file = "enwik8"

    def place(self, path: Path, folder: Path) -> list[str]:
        names = from_zip(path, folder, lambda member: member if member == self.file else None)
        for name in names:
            if (folder / name).stat().st_size != SIZE:
                raise CorpusError(f"{name} has {(folder / name).stat().st_size:,} bytes, not {SIZE:,}")
        return names

    def originals(self) -> list[Original]:
        name = f"{self.file}.zip"
        return [
            Original("CC BY-SA 3.0, GFDL", self.place, name, Official(f"https://mattmahoney.net/dc/{name}"), "2006")
        ]
