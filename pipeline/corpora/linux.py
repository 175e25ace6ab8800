"""C source of the Linux kernel: its kernel/ folder as in Karpathy, Johnson and Fei-Fei (2015), or the whole tree."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal

from pipeline.command.setting import Seed, check_value
from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.download import Official
from pipeline.corpora.packages import Apt
from pipeline.corpora.unpack import from_deb, from_tar, one_file

SUBSETS = {
    "kernel": r"kernel/([^/]*|(sched|time|locking|rcu|events|irq)/.*)\.[ch]",  # 260 files, 6.2 MB
    "all": r".*\.[ch]",  # 55,405 files, 1.18 GB
}
URL = "https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.1.tar.xz"
SHA256 = "2ca1f17051a430f6fed1196e4952717507171acfd97d96577212502703b25deb"


def source_file(subset: str, member: str) -> str | None:
    """Path below the tree's root under which a member is kept, None for files outside the subset."""
    path = member.removeprefix("./").partition("/")[2]
    return path if re.fullmatch(SUBSETS[subset], path) else None


def place_tar(subset: str, shuffled: int | None, path: Path, folder: Path) -> list[str]:
    return in_order(from_tar(path, folder, partial(source_file, subset)), shuffled)


def place_deb(subset: str, shuffled: int | None, path: Path, folder: Path) -> list[str]:
    files = from_deb(path, folder, partial(source_file, subset), inside="./usr/src/linux-source-6.1.tar.xz")
    return in_order(files, shuffled)


def in_order(files: list[str], shuffled: int | None) -> list[str]:
    """By path, or in the random order that a seed gives."""
    files = sorted(files)
    return files if shuffled is None else Random(shuffled).sample(files, len(files))


@dataclass
class Linux(Corpus):
    """Linux 6.1: .c and .h files in the order of their paths, or in a random one. The package's version moves with
    security updates."""

    subset: Literal["kernel", "all"] = "kernel"
    shuffled: Seed | None = None

    def __post_init__(self):
        super().__post_init__()
        check_value("data.subset", self.subset, Literal["kernel", "all"])
        check_value("data.shuffled", self.shuffled, Seed | None)

    def request(self) -> dict:
        return {"subset": self.subset} | ({} if self.shuffled is None else {"shuffled": self.shuffled})

    def originals(self) -> list[Original]:
        joined = Original(
            "GPL-2.0",
            one_file,
            "linux_kernel_dir.txt",
            None,
            "6.1.192",
            6_171_055,
            "e06a43584e9af3e350ec0a8b583bc17f03df7ec1e849c3897c1be2b37c5c3152",
        )
        chosen = self.subset, self.shuffled
        return [joined][: chosen == ("kernel", None)] + [
            Original("GPL-2.0", partial(place_tar, *chosen), "linux-6.1.tar.xz", Official(URL), "6.1", sha256=SHA256),
            Original("GPL-2.0", partial(place_deb, *chosen), getter=Apt("linux-source-6.1")),
        ]
