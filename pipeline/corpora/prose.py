"""A long modern prose text: An Anarchist FAQ, which Debian packages."""

import gzip
import re
from pathlib import Path, PurePosixPath

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.packages import Apt
from pipeline.corpora.unpack import from_deb


def chapter(member: str) -> str | None:
    """Name under which a member of the package is kept, None for all that is no chapter."""
    path = PurePosixPath(member)
    named = re.fullmatch(r"(intro|sec\w+|append\w+)\.md(\.gz)?", path.name)
    return path.name if path.parent.name == "markdown" and named else None


def place_chapters(path: Path, folder: Path) -> list[str]:
    """The introduction, the sections, then the appendices, as plain text; lists of links are no chapters."""
    names = []
    for one in from_deb(path, folder, chapter):
        content = (folder / one).read_bytes()
        markdown = gzip.decompress(content) if one.endswith(".gz") else content
        (folder / one).unlink()
        names.append(one.partition(".")[0] + ".txt")
        (folder / names[-1]).write_text(plain(markdown.decode()), encoding="utf-8")
    return sorted(names, key=lambda name: (not name.startswith("intro"), not name.startswith("sec"), name))


def plain(markdown: str) -> str:
    """A paragraph a line, without marks for headings, emphasis, links and lists."""
    lines = []
    for paragraph in re.split(r"\n\s*\n", markdown):
        text = re.sub(r"^\s*(#+|>|\*|\d+\.)\s+", "", paragraph, flags=re.MULTILINE)
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
        text = re.sub(r"\*\*|(?<!\w)_|_(?!\w)|\\(?=[^\w\s])", "", text)
        text = re.sub(r"\s+", " ", text)
        text = re.sub(r" (?=[,.;:!?\])])|(?<=[\[(]) ", "", text).strip()
        if re.search(r"\w", text):
            lines.append(text)
    return "".join(f"{line}\n" for line in lines)


class Prose(Corpus):
    """An Anarchist FAQ, 11 MB of English prose, a paragraph a line."""

    def originals(self) -> list[Original]:
        return [Original("GPL-2 or GFDL", place_chapters, "anarchism.deb", Apt("anarchism"))]
