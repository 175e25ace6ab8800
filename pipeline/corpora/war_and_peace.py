"""Tolstoy's War and Peace as Karpathy, Johnson and Fei-Fei (2015) used it."""

import codecs
from pathlib import Path

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.download import Official
from pipeline.corpora.unpack import one_file

URL = "https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"
NAME = URL.rpartition("/")[2]


def with_mark_and_crlf(path: Path, folder: Path) -> list[str]:
    """Puts the text of a mirror into `folder` as the official file has it: a byte order mark first, lines that end with
    CR LF."""
    (folder / NAME).write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    return [NAME]


class WarAndPeace(Corpus):
    """War and Peace, 3.2 MB. The official file has CRLF line ends and a byte order mark, the mirror's has neither, and
    gets them back."""

    def originals(self) -> list[Original]:
        return [
            Original(
                "public domain (US)",
                with_mark_and_crlf,
                "war_and_peace.txt",
                None,
                "warpeace_input.txt with LF line ends",
                3_196_231,
                "e9d70cc7d26da7bb53c09a90844647f75cd2ef081b6aa358290a8cf7184d889b",
            ),
            Original("public domain (US)", one_file, NAME, Official(URL), NAME, 3_258_250),
        ]
