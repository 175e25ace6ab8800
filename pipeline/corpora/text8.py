"""text8: letters a to z and spaces alone (Mahoney 2006)."""

from pipeline.corpora.enwik8 import Enwik8


class Text8(Enwik8):
    """The text of Wikipedia in lower case, with numbers spelled out, 100 MB; the customary parts are 90, 5 and 5
    million characters."""

    usual = {"split": "90-5-5"}
    file = "text8"
