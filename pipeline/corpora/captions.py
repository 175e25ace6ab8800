"""A folder of pictures that the user names, with a list of sentences."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpora.corpus import CorpusError, Original, in_a_line
from pipeline.corpora.linked import link, pictures_below
from pipeline.corpora.listing import Finder, Listing, from_coco, from_csv, from_names, read_pictures
from pipeline.corpora.pictures import PictureSet
from pipeline.corpora.text import Local

LISTS = ("captions.json", "captions.csv")
MEND = "name a folder of pictures that can be read (data.path)"


@dataclass
class OwnPictures(PictureSet):
    """The pictures below the folder `path` and their sentences in the file `captions`: JSON in COCO's format or
    {name: [sentences]}, or CSV of names and sentences. They are linked where they are, not copied.

    captions  the list; None: captions.json or captions.csv in the folder
    """

    path: str | None = None
    captions: str | None = None

    changes = True

    def request(self) -> dict:
        return {"path": self.path} | ({} if self.captions is None else {"captions": self.captions})

    def originals(self) -> list[Original]:
        if not self.path:
            raise CorpusError("data=captions needs data.path=<folder of pictures>")
        return [Original("the user's", self.place, getter=Local(self.path), version="local")]

    def place(self, path: Path, folder: Path) -> list[str]:
        if not path.is_dir():
            raise CorpusError(f"it is no folder: {MEND}")
        named = self.lists(path)
        found = [one for one in named if one.is_file()]
        if not found:
            raise CorpusError(
                f"there is no {in_a_line(' or '.join(map(str, named)))}: name the list of sentences (data.captions)"
            )
        kept = "captions" + found[0].suffix.lower()
        if kept not in LISTS:
            raise CorpusError(f"data.captions={in_a_line(found[0])}: take a .json or a .csv file")
        shutil.copyfile(found[0], folder / kept)
        return [kept, *link(path, pictures_below(path), folder)]

    def lists(self, path: Path) -> list[Path]:
        """Where the list may be, of pictures below `path`."""
        return [Path(self.captions).expanduser()] if self.captions else [path / name for name in LISTS]

    def copied_from(self, file: Path, root: Path) -> Path:
        if file.is_symlink() or file.name not in LISTS:
            return super().copied_from(file, root)
        lists = self.lists(Path(self.path).expanduser())
        return next((one for one in lists if one.is_file() and one.suffix.lower() == file.suffix), file)

    def listed(self, files: list[Path], root: Path) -> Listing:
        listed = files[0]
        pictures = [file.relative_to(root).as_posix() for file in files[1:]]
        find = Finder(pictures)
        if listed.suffix == ".csv":
            listing = from_csv(listed, find)
        else:
            listing = read_pictures(listed, lambda content: from_json(content, find))
        for one in listing.pictures:
            one.part = one.facts = None  # the split decides
        return listing


def from_json(content: object, find: Finder) -> Listing:
    if not isinstance(content, dict):
        raise ValueError("it is neither in COCO's format nor {name: [sentences]}")
    if not {"images", "annotations"} <= content.keys():
        return from_names(content, find)
    listing = from_coco(content, lambda image: find(image["file_name"]))
    return listing.with_files(find.files)
