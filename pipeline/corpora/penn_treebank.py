"""The Penn Treebank as Mikolov et al. (2010) made it ready, from a folder of a user who has a licence."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpora.corpus import Corpus, CorpusError, Original
from pipeline.corpora.text import Local

PARTS = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")


@dataclass
class PennTreebank(Corpus):
    """929,589, 73,760 and 82,430 words with line breaks, 10,000 different ones, `<unk>` among them. Never downloaded.

    path  a folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt
    """

    path: str | None = None

    changes = in_parts = True
    usual = {"symbols": "words", "tokens": "spaces", "least": 1, "split": "published"}

    def request(self) -> dict:
        return {"path": self.path}

    def copied_from(self, file: Path, root: Path) -> Path:
        return Local(self.path).copied_from(file, root)

    def place(self, path: Path, folder: Path) -> list[str]:
        for name in PARTS:
            if not (path / name).is_file():
                raise CorpusError(f"it has no {name}: name a folder with {', '.join(PARTS)} (data.path)")
            shutil.copyfile(path / name, folder / name)
        return list(PARTS)

    def originals(self) -> list[Original]:
        if not self.path:
            raise CorpusError(
                "data=penn_treebank needs data.path=<folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt>: it is "
                "licensed by the Linguistic Data Consortium and is not downloaded"
            )
        return [Original("LDC, the user's", self.place, getter=Local(self.path), version="Mikolov's")]
