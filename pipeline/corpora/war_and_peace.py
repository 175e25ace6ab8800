"""Tolstoy's War and Peace as Karpathy, Johnson and Fei-Fei (2015) used it."""

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.download import Official
from pipeline.corpora.unpack import one_file

URL = "https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"


class WarAndPeace(Corpus):
    """War and Peace, 3.2 MB. The official file has CRLF line ends and a byte order mark, the mirror's has neither."""

    def originals(self) -> list[Original]:
        return [
            Original(
                "public domain (US)",
                one_file,
                "war_and_peace.txt",
                None,
                "warpeace_input.txt with LF line ends",
                3_196_231,
                "e9d70cc7d26da7bb53c09a90844647f75cd2ef081b6aa358290a8cf7184d889b",
            ),
            Original(
                "public domain (US)", one_file, "warpeace_input.txt", Official(URL), "warpeace_input.txt", 3_258_250
            ),
        ]
