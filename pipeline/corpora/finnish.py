"""A manual in Finnish: LibreOffice's help, which Debian packages in many languages."""

import html
import re
from pathlib import Path

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.packages import Apt
from pipeline.corpora.unpack import from_deb

PARAGRAPH = re.compile(r'<(p|h\d) id="(?:par|hd)_[^>]*>(.*?)</\1>', re.DOTALL)
SENTENCES = re.compile(r"(\S+\s+){3}.*[.:!?]")  # not what menus, formulas and programs say
FINNISH = re.compile(r"[äöÄÖ]|\b(ja|tai|ei|ovat|kun|jos|se)\b")
ENGLISH = re.compile(r"\b(the|The|of|and|is|to|this|This|with|for|are|or|you)\b")


def page(member: str) -> str | None:
    """Name under which a page of the help is kept, None for all else of the package."""
    name = member.partition("/text/")[2]
    return name if name.endswith(".html") else None


def sentences(page: str) -> list[str]:
    """The paragraphs of a page's own text that are sentences of four words or more, without tags."""
    texts = (html.unescape(re.sub(r"<[^>]+>", "", inside)) for _, inside in PARAGRAPH.findall(page))
    return [text for text in (re.sub(r"\s+", " ", text).strip() for text in texts) if SENTENCES.fullmatch(text)]


class Finnish(Corpus):
    """The help of LibreOffice in Finnish, 1 MB, a paragraph a line, each once; what is no sentence, or not translated,
    is left out. data=english is the same manual."""

    language = "fi"

    def is_own(self, paragraph: str) -> bool:
        """Whether a paragraph is in the corpus's language."""
        return bool(FINNISH.search(paragraph)) and not ENGLISH.search(paragraph)

    def place(self, path: Path, folder: Path) -> list[str]:
        names, lines = sorted(from_deb(path, folder, page)), {}
        for name in names:
            lines |= dict.fromkeys(filter(self.is_own, sentences((folder / name).read_text(encoding="utf-8"))))
            (folder / name).unlink()
        for inner in sorted((one for one in folder.rglob("*") if one.is_dir()), reverse=True):
            inner.rmdir()
        (folder / "help.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return ["help.txt"] if names else []

    def originals(self) -> list[Original]:
        package = f"libreoffice-help-{self.language}"
        return [Original("MPL-2.0", self.place, f"{package}.deb", Apt(package))]
