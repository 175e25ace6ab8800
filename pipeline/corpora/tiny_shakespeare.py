"""The 1.1 MB of Shakespeare that char-rnn and nanoGPT train on."""

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.download import Official
from pipeline.corpora.unpack import one_file

COMMIT = "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
URL = f"https://raw.githubusercontent.com/karpathy/char-rnn/{COMMIT}/data/tinyshakespeare/input.txt"


class TinyShakespeare(Corpus):
    """Tiny Shakespeare: 1,115,394 characters, 65 symbols."""

    def originals(self) -> list[Original]:
        return [
            Original(
                "public domain",
                one_file,
                "tinyshakespeare.txt",
                Official(URL),
                f"karpathy/char-rnn@{COMMIT[:8]}",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ]
