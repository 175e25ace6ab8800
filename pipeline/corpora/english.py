"""The manual of data=finnish in English."""

from pipeline.corpora.finnish import Finnish


class English(Finnish):
    """The help of LibreOffice in English, a paragraph a line, each paragraph once."""

    language = "en-us"

    def is_own(self, paragraph: str) -> bool:
        return True
