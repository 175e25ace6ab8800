"""Stamps: photographs and drawings of Tux Paint, each with a sentence that a person wrote for children."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.corpora.corpus import Original
from pipeline.corpora.listing import Listed, Listing
from pipeline.corpora.packages import Apt
from pipeline.corpora.pictures import PictureSet
from pipeline.corpora.unpack import from_deb

BELOW = "./usr/share/tuxpaint/stamps/"
DEB = "tuxpaint-stamps-default_2022.06.04-1_all.deb"
SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"


@dataclass
class Stamps(PictureSet):
    """785 pictures with the first line of the text beside each, "A moon wrasse.": English."""

    def originals(self) -> list[Original]:
        return [
            Original("GPL-2.0", place, DEB, version="2022.06.04-1", sha256=SHA256),
            Original("GPL-2.0", place, getter=Apt("tuxpaint-stamps-default")),
        ]

    def listed(self, files: list[Path], root: Path) -> Listing:
        texts = {file.with_suffix("") for file in files if file.suffix == ".txt"}
        listing = Listing([])
        for file in files:
            if file.suffix == ".png":
                lines = (
                    file.with_suffix(".txt").read_text(errors="replace").splitlines()[:1]
                    if file.with_suffix("") in texts
                    else []
                )
                listing.pictures.append(Listed(file.relative_to(root).as_posix(), lines))
        return listing


def place(path: Path, folder: Path) -> list[str]:
    def kept(name: str) -> str | None:
        return name.removeprefix(BELOW) if name.startswith(BELOW) and name.endswith((".png", ".txt")) else None

    return sorted(from_deb(path, folder, kept))
