"""LaTeX of algebra: the Stacks project, or the manuals of PARI/GP."""

import re
from pathlib import Path, PurePosixPath

from pipeline.corpora.corpus import Corpus, CorpusError, Original, in_a_line
from pipeline.corpora.download import Official
from pipeline.corpora.packages import Apt
from pipeline.corpora.unpack import from_deb, from_tar, one_file

COMMIT = "4ac4815d5a00dc2eacab7824cf4e4baafe2773ac"
URL = f"https://github.com/stacks/stacks-project/archive/{COMMIT}.tar.gz"


def chapters(makefile: str) -> list[str]:
    """Names of the chapters' files in the order of the Makefile's list `LIJST`."""
    found = re.search(r"^LIJST\s*=((?:.*\\\n)*.*)", makefile, re.MULTILINE)
    if not found:
        raise CorpusError("the Stacks project's Makefile has no chapter list LIJST")
    return [stem + ".tex" for stem in found.group(1).replace("\\\n", " ").split()]


def place_stacks(path: Path, folder: Path) -> list[str]:
    """The chapters in the order of the Makefile; preamble, licence and index are left out."""

    def choose(member: str) -> str | None:
        inner = member.partition("/")[2]
        return inner if inner == "Makefile" or re.fullmatch(r"[^/]+\.tex", inner) else None

    names = from_tar(path, folder, choose)
    if "Makefile" not in names:
        raise CorpusError(f"{path.name} holds no Makefile")
    ordered = chapters((folder / "Makefile").read_text(errors="replace"))
    for name in ordered:
        if name not in names:
            raise CorpusError(f"{path.name} holds no {in_a_line(name)}, which its Makefile lists")
        if ordered.count(name) > 1:
            raise CorpusError(f"the Makefile of {path.name} lists {name} twice")
    for name in set(names) - set(ordered):
        (folder / name).unlink()
    return ordered


def pari_manual(member: str) -> str | None:
    return PurePosixPath(member).name if re.fullmatch(r"\./usr/share/pari/doc/[^/]+\.tex", member) else None


def place_pari(path: Path, folder: Path) -> list[str]:
    """The .tex files of PARI/GP's manuals, in the order of their sorted names."""
    return sorted(from_deb(path, folder, pari_manual))


class Latex(Corpus):
    """LaTeX source: 10 to 28 MB of the Stacks project from a mirror or its home, 2.9 MB of PARI manuals from apt."""

    def originals(self) -> list[Original]:
        version = f"stacks-project@{COMMIT[:8]}"
        return [
            Original(
                "GFDL 1.2+",
                one_file,
                "stacks_10mb.tex",
                None,
                version + ", first 30 chapters",
                9_766_688,
                "bdf03e1e7eb2ff8636e082246a18b8da2c397d7a6ae75d04c269f7a5d8f949d3",
            ),
            Original("GFDL 1.2+", place_stacks, f"stacks-project-{COMMIT}.tar.gz", Official(URL), version),
            Original("GPL-2+", place_pari, getter=Apt("pari-doc")),
        ]
