"""Microsoft COCO: photographs with five sentences each (Lin et al. 2014, Chen et al. 2015)."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from pipeline.command.setting import Count, Split, check_value
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.download import download
from pipeline.corpora.linked import link, pictures_below
from pipeline.corpora.listing import Finder, Listing, from_coco, read_pictures
from pipeline.corpora.parts import shares_of
from pipeline.corpora.pictures import PictureSet
from pipeline.corpora.text import Local
from pipeline.corpora.unpack import from_zip

HOME = "http://images.cocodataset.org"  # its certificate for https is another's
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
SPLIT_FILE = "dataset_coco.json"  # within it
SUMS = {
    "train2014.zip": ("md5", "0da8c0bd3d6becc4dcb32757491aca88"),
    "val2014.zip": ("md5", "a3d79f5ed8d289b7a7554ce06a5782b3"),
    "annotations_trainval2014.zip": ("md5", "0a379cfc70b0e71301e0f377548639bd"),
    "train2017.zip": ("sha1", "10ad623668ab00c62c096f0ed636d6aff41faca5"),
    "val2017.zip": ("sha1", "4950dc9d00dbe1c933ee0170f5797584351d2a41"),
    "annotations_trainval2017.zip": ("sha1", "8551ee4bb5860311e79dace7e79cb91e432e78b3"),
}
FILES = ("train", "val")
PARTS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}  # of both splits -> ours
LICENCE = "annotations: CC BY 4.0; pictures: Flickr's terms of use, a licence each"
AT_ONCE = 8  # pictures that are fetched side by side
ONE_LIST = "captions.json"  # of a copy that is not divided into the official files
OUTSIDE = "not in the split"


@dataclass
class Coco(PictureSet):
    """The pictures of the training and the validation file of a year, and their sentences.

    year    2014 | 2017: the same pictures, divided otherwise
    subset  the first so many pictures of each of the two files; None: all. They are fetched one by one
    path    a copy on this machine, which is read where it is; None: from a mirror or from COCO's site
    split   "karpathy": 113,287 pictures train, 5,000 validate, 5,000 test (Karpathy and Fei-Fei 2015); "official": the
            two files, there are no sentences of the test pictures; or shares, such as 80-10-10
    """

    split: Split | Literal["karpathy", "official"]
    year: Literal[2014, 2017] = 2014
    subset: Count | None = None
    path: str | None = None

    usual = {"split": "karpathy"}

    def __post_init__(self):
        super().__post_init__()
        check_value("data.year", self.year, Literal[2014, 2017])
        check_value("data.subset", self.subset, Count | None)

    def check_split(self) -> None:
        if self.split not in ("karpathy", "official"):
            shares_of(self.split)

    def request(self) -> dict:
        asked = {"year": self.year, "subset": self.subset, "path": self.path}
        return {name: value for name, value in asked.items() if value is not None}

    def originals(self) -> list[Original]:
        placed = partial(place_copy, self.year, self.subset)
        if self.path:
            return [Original(LICENCE, placed, getter=Local(self.path), version="local")]
        archives = partial(place_archives, self.year, self.subset)
        return [
            Original(LICENCE, placed, self.folder, version=str(self.year)),
            Original(LICENCE, partial(archives, True), f"annotations_trainval{self.year}.zip", version=str(self.year)),
            Original(LICENCE, partial(archives, False), getter=Site(self.year, self.subset), version=str(self.year)),
        ]

    def listed(self, files: list[Path], root: Path) -> Listing:
        found = {file.relative_to(root).as_posix() for file in files}
        if ONE_LIST in found:
            listing = read_pictures(root / ONE_LIST, partial(_one_list, Finder(found)))
        else:
            train, held = (
                read_pictures(root / list_of(kind, self.year), partial(_official, kind, self.year, self.subset))
                for kind in FILES
            )
            listing = Listing(train.pictures + held.pictures)
            for one in (train, held):
                for reasons, more in ((listing.skipped, one.skipped), (listing.noted, one.noted)):
                    for reason, names in more.items():
                        reasons[reason] += names
        self._divide(listing, root / SPLIT_FILE if SPLIT_FILE in found else None)
        return listing

    def _divide(self, listing: Listing, split_file: Path | None) -> None:
        """Gives the pictures their parts, and leaves out those that the split does not have."""
        if self.split == "karpathy":
            if split_file is None:
                raise CorpusError(
                    f"{self.folder} was fetched without {KARPATHY.rpartition('/')[2]}, which has Karpathy's split: put "
                    "it beside the other files and fetch again, or take data.split=official or 80-10-10"
                )
            parts = read_pictures(split_file, _karpathy)
            for one in listing.pictures:
                one.part = parts.get(one.id)
        elif self.split != "official":
            for one in listing.pictures:
                one.part = None
            return
        for one in listing.pictures:
            if one.part is None:
                listing.skipped[OUTSIDE].append(one.file)
        listing.pictures = [one for one in listing.pictures if one.part is not None]


@dataclass(frozen=True)
class Site:
    """COCO's site: its archives, or its lists and single pictures. What came whole in an earlier attempt is kept."""

    year: int
    subset: int | None
    kind = "official"

    @property
    def where(self) -> str:
        return HOME

    def get(self, folder: Path) -> tuple[Path, None]:
        lists = archive(f"{HOME}/annotations/annotations_trainval{self.year}.zip", folder)
        try:
            archive(KARPATHY, folder)
        except CorpusError as error:
            print(f"  without Karpathy's split: {KARPATHY}: {error}", flush=True)
        if self.subset is None:
            for kind in FILES:
                archive(f"{HOME}/zips/{kind}{self.year}.zip", folder)
        else:
            from_zip(lists, folder, partial(_of, {list_of(kind, self.year) for kind in FILES}))
            for kind in FILES:
                self.get_pictures(kind, folder)
        return lists, None

    def get_pictures(self, kind: str, folder: Path) -> None:
        """The first pictures of a file, one by one, into a folder of its name."""
        below = folder / f"{kind}{self.year}"
        below.mkdir(exist_ok=True)
        names = first_names(folder / list_of(kind, self.year), self.subset)

        def get(name: str) -> None:
            if not (below / name).exists():
                download(f"{HOME}/{below.name}/{name}", below / name, bar=False)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                list(tqdm(pool.map(get, names), below.name, len(names), unit=" pictures", disable=None))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def archive(url: str, folder: Path) -> Path:
    """The file of that address, whole; it is downloaded unless it is there, and removed if its checksum is another."""
    path = folder / url.rpartition("/")[2]
    if not path.exists():
        download(url, path)
    try:
        check_sum(path)
    except CorpusError:
        path.unlink()
        raise
    return path


def check_sum(path: Path) -> None:
    """CorpusError: an archive's checksum is not the published one."""
    if path.name not in SUMS:
        return
    algorithm, expected = SUMS[path.name]
    found = hashlib.new(algorithm)
    with (
        path.open("rb") as file,
        tqdm(desc=f"checking {path.name}", total=path.stat().st_size, unit="B", unit_scale=True, disable=None) as bar,
    ):
        while piece := file.read(1 << 22):
            found.update(piece)
            bar.update(len(piece))
    if found.hexdigest() != expected:
        raise CorpusError(f"{path.name} has {algorithm} {found.hexdigest()}, expected {expected}")


def list_of(kind: str, year: int) -> str:
    return f"annotations/captions_{kind}{year}.json"


def first_names(path: Path, subset: int | None) -> list[str]:
    """The names of the first `subset` pictures of a list, of all where it is None."""
    return [one.file for one in read_pictures(path, from_coco).pictures[:subset]]


def place_archives(year: int, subset: int | None, check: bool, path: Path, folder: Path) -> list[str]:
    """Unpacks the lists in the archive at `path`, and the pictures that lie beside it: in archives, or in folders.

    check  the checksums, too
    CorpusError: an archive is missing or damaged.
    """
    beside = {kind: path.parent / f"{kind}{year}" for kind in FILES}
    for kind, pictures in beside.items():
        if not pictures.is_dir() and not pictures.with_suffix(".zip").is_file():
            raise CorpusError(f"{kind}{year}.zip, which has the pictures, is not beside it")
    if check:
        for one in (path, *(pictures.with_suffix(".zip") for pictures in beside.values())):
            if one.exists():
                check_sum(one)
    names = sorted(from_zip(path, folder, partial(_of, {list_of(kind, year) for kind in FILES})))
    if len(names) != len(FILES):
        raise CorpusError(f"it has not the lists of {year}")
    karpathy = path.parent / KARPATHY.rpartition("/")[2]
    if karpathy.is_file():
        names += from_zip(karpathy, folder, partial(_of, {SPLIT_FILE}))
    for kind, pictures in beside.items():
        wanted = {f"{kind}{year}/{name}" for name in first_names(folder / list_of(kind, year), subset)}
        if pictures.is_dir():
            (folder / pictures.name).mkdir()
            for name in sorted(wanted):
                (pictures.parent / name).rename(folder / name)
            names += sorted(wanted)
        else:
            names += sorted(from_zip(pictures.with_suffix(".zip"), folder, partial(_of, wanted)))
    return names


def place_copy(year: int, subset: int | None, path: Path, folder: Path) -> list[str]:
    """Links what a copy at `path` has: annotations/captions_train2014.json and the folder train2014, or
    images/train2014, and the same of val; or one list captions.json and its pictures in any folder. CorpusError: it has
    neither."""
    if not path.is_dir():
        raise CorpusError("it is no folder: name the one that COCO's files were unpacked in (data.path)")
    if (path / ONE_LIST).is_file():
        pictures = pictures_below(path)
        if subset is not None:
            find = Finder(pictures)
            wanted = {find(name) for name in first_names(path / ONE_LIST, subset)}
            pictures = [name for name in pictures if name in wanted]
        return link(path, [ONE_LIST, *pictures], folder)
    names = [list_of(kind, year) for kind in FILES]
    for name in names:
        if not (path / name).is_file():
            raise CorpusError(f"it has neither {name} nor {ONE_LIST}: name the folder of an unpacked copy (data.path)")
    link(path, names, folder)
    if (path / SPLIT_FILE).is_file():
        names += link(path, [SPLIT_FILE], folder)
    elif (path / KARPATHY.rpartition("/")[2]).is_file():
        zipped = path / KARPATHY.rpartition("/")[2]
        names += from_zip(zipped, folder, partial(_of, {SPLIT_FILE}))
    for kind in FILES:
        below = next((one for one in (path, path / "images") if (one / f"{kind}{year}").is_dir()), None)
        if below is None:
            raise CorpusError(f"it has no folder {kind}{year}: name the folder of an unpacked copy (data.path)")
        listed = first_names(path / list_of(kind, year), subset)
        there = [f"{kind}{year}/{name}" for name in listed if (below / f"{kind}{year}" / name).is_file()]
        names += link(below, there, folder)
    return names


def _of(wanted: set[str], name: str) -> str | None:
    return name if name in wanted else None


def _official(kind: str, year: int, subset: int | None, content: dict) -> Listing:
    """One of the two lists."""
    if subset is not None:
        kept = {image["id"] for image in content["images"][:subset]}
        content = {
            "images": content["images"][:subset],
            "annotations": [one for one in content["annotations"] if one["image_id"] in kept],
        }
    listing = from_coco(content, lambda image: f"{kind}{year}/{image['file_name']}")
    for one in listing.pictures:
        one.part = PARTS[kind]
    return listing


def _one_list(find: Finder, content: dict) -> Listing:
    """A list of both files, each picture with "coco_split": "train2017" or "val2017", if it has an official part."""
    listing = from_coco(content, lambda image: find(image["file_name"]))
    kinds = {image["id"]: str(image.get("coco_split")).rstrip("0123456789") for image in content["images"]}
    for one in listing.pictures:
        one.part = PARTS.get(kinds[one.id])
    return listing


def _karpathy(content: dict) -> dict[int, str]:
    """COCO's number of a picture -> its part."""
    return {image["cocoid"]: PARTS[image["split"]] for image in content["images"]}
