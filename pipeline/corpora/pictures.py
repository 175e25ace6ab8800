"""Pictures with sentences that people, or a program, wrote of them: as conf/data states a set, and as it is read once
it is prepared."""

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from PIL import Image
from pydantic import StringConstraints
from typing_extensions import TypedDict

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Seed, Split, check_value
from pipeline.corpora.corpus import Published, dataset_class
from pipeline.corpora.image import BadPicture, decode
from pipeline.corpora.listing import Listing
from pipeline.corpora.parts import PARTS, shares_of
from pipeline.corpora.prepared import brought
from pipeline.corpora.sources import read_card
from pipeline.corpora.tokens import END, UNKNOWN
from pipeline.corpora.verified import Sum
from pipeline.corpora.vocabulary import Words
from pipeline.files.whole import read_json

TOKENS = "captions"  # how sentences are cut into words: pipeline.corpora.tokens


class PicturesCard(TypedDict):
    """What card.json in data/prepared/<set>/... says, of what a reader needs."""

    corpus: str
    split: str
    counts: dict[str, int]  # pictures of each part
    sentences: dict[str, int]  # sentences of each part
    fingerprint: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]  # of all: pictures, sentences, parts
    pictures: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]  # of the pictures alone
    synthetic: NotRequired[bool]
    skipped: dict[str, list[str]]  # reason -> names of pictures, or of sentences by their pictures
    converted: dict[str, list[str]]  # what was done to them when they were decoded -> names
    noted: dict[str, list[str]]  # what is odd about pictures and sentences that are kept -> names
    files: dict[str, Sum]
    raw: dict


@dataclass
class PictureSet(Published):
    """A set of pictures with sentences. A new one, in a file of pipeline/corpora, lists `originals` and what is listed
    in them, `listed`."""

    split: Split
    least: Count  # occurrences in the training part that make a word known
    pictures: str  # where `fetch` put the pictures, and where they are read
    prepared: str  # where `prepare` puts sentences and arrays
    dataset: str  # the class of pipeline.datasets that reads them
    encoder: Any = field(default=None, kw_only=True)  # what makes features of pictures: pipeline.encoders
    features: str = field(default="", kw_only=True)  # where they are kept
    longest: Count = field(default=50, kw_only=True)  # words of a sentence that are read
    seed: Seed = field(default=0, kw_only=True)  # of the order in which a pass reads the sentences

    synthetic = False  # True: pictures and sentences are made by a program, which the card says wherever it shows

    def __post_init__(self):
        super().__post_init__()
        check_value("data.least", self.least, Count)
        self.check_split()

    def check_split(self) -> None:
        """Raises Refusal for a split that there is not."""
        shares_of(self.split)

    @property
    def directory(self) -> Path:
        return Path(self.prepared)

    @abstractmethod
    def listed(self, files: list[Path], root: Path) -> Listing:
        """The pictures and sentences that the fetched files, below `root`, list. Raises Refusal for a list that cannot
        be read."""

    def prepared_by(self) -> dict:
        return {"split": self.split}

    def read(self, local: str | None = None) -> "Pictures":
        """The prepared set; its arrays from a copy in the folder `local` if one is named. Raises Refusal where it was
        not prepared, is damaged, or is not of the pictures that are there."""
        return load_pictures(self.directory, self.words(), Path(self.pictures), self.least, local)

    def open(self, local: str | None = None):
        """The prepared set as data to learn from. Raises Refusal as `read`, and where no encoder is chosen."""
        dataset = dataset_class(self.dataset, "pipeline.datasets.captions.Captions")
        if self.encoder is None:
            raise Refusal(f"encoder=null: data={self.folder} gives networks features of its pictures: leave it out")
        return dataset(self.read(local), self.encoder, Path(self.features), self.longest, self.seed)

    def complete(self) -> None:
        self.open().make_features()


class Pictures:
    """N pictures, 0..N-1, and S sentences, 0..S-1, those of a picture one after the other.

    card                 PicturesCard; its fingerprint is also of the vocabulary
    vocabulary           V words, the first one UNKNOWN, the last one END, between them those that occur `least` times
                         in the training part, by falling frequency
    words                the words of all sentences, one after the other, 0..V-2, without END; shape (sum of lengths,)
    sentence_ends        where each sentence ends in `words`; shape (S,)
    picture_of_sentence  ascending; shape (S,)
    """

    def __init__(self, directory: Path, card: dict, root: Path, least: int, mend: str):
        arrays = {
            name.removesuffix(".npy"): np.load(directory / name, mmap_mode="r", allow_pickle=False)
            for name in card["files"]
            if name.endswith(".npy")
        }
        every = read_json(directory / "words.json", mend)["words"]
        kept = int(np.count_nonzero(arrays["occurrences"][1:] >= least)) + 1
        if kept < 2:
            raise Refusal(
                f"data.least={least}: no word of {card['corpus']} occurs so often in the training part: take "
                f"{max(1, int(arrays['occurrences'].max(initial=1)))} at most"
            )
        self.vocabulary = Words([UNKNOWN, *every[1:kept], END], TOKENS)
        words = np.asarray(arrays["words"])
        self.words = np.where(words < kept, words, 0).astype(self.vocabulary.dtype)
        self.sentence_ends, self.picture_of_sentence = arrays["sentence_ends"], arrays["picture_of_sentence"]
        self.directory, self.root, self.mend = directory, root, mend
        self._parts, self._ends = arrays["parts"], np.cumsum(np.bincount(self.picture_of_sentence))
        fingerprint = hashlib.sha256(f"{card['fingerprint']} {kept}".encode()).hexdigest()
        self.card = card | {"fingerprint": fingerprint}

    def __len__(self) -> int:
        return len(self._parts)

    def part_of(self, part: str) -> np.ndarray:
        """Numbers of the pictures of "train", "validation" or "test", ascending."""
        return np.flatnonzero(self._parts == PARTS.index(part))

    def sentences_of(self, k: int) -> slice:
        """Numbers of the sentences of picture k."""
        return slice(int(self._ends[k - 1]) if k else 0, int(self._ends[k]))

    def sentence_words(self, s: int) -> np.ndarray:
        """The words of sentence s, of `words`."""
        return self.words[int(self.sentence_ends[s - 1]) if s else 0 : int(self.sentence_ends[s])]

    @cached_property
    def listed(self) -> dict:
        """All of it in COCO's format: {"images": [{"id", "file_name", "width", "height", "part", "facts"?}, ..] of each
        picture, "annotations": [{"id", "image_id", "caption"}, ..] of each sentence, "info"}."""
        return read_json(self.directory / "captions.json", self.mend)

    @cached_property
    def names(self) -> list[str]:
        """Of each picture its file below the fetched files."""
        return [image["file_name"] for image in self.listed["images"]]

    @cached_property
    def ids(self) -> list[int]:
        """Of each picture its number in its set: what COCO's results are written with."""
        return [image["id"] for image in self.listed["images"]]

    def sentences(self, k: int) -> list[str]:
        """The sentences of picture k, as they were written."""
        return [one["caption"] for one in self.listed["annotations"][self.sentences_of(k)]]

    def facts(self, k: int) -> dict | None:
        """What a program knows to be in picture k; None for pictures that were not made by one."""
        return self.listed["images"][k].get("facts")

    def path(self, k: int) -> Path:
        return self.root / self.names[k]

    def open(self, k: int) -> Image.Image:
        """Picture k as RGB of 8 bits (pipeline.corpora.image.decode); it is decoded at each call and not kept. Raises
        Refusal where it can no longer be read."""
        try:
            return decode(self.path(k))[0]
        except BadPicture as error:
            raise Refusal(f"{self.path(k)}: {error}: {self.mend}") from error


def load_pictures(
    directory: Path | str,
    words: str = "data=...",
    root: Path | None = None,
    least: int = 1,
    local: Path | str | None = None,
) -> Pictures:
    """The pictures and sentences that `prepare` left in `directory`, the arrays from a copy in the folder `local` if
    one is named.

    words  what chooses them on a command line, for messages: "data=scenes"
    root   where `fetch` put the pictures
    least  occurrences in the training part that make a word known
    Raises Refusal where there are none, where they are damaged, or where the pictures are others than were prepared.
    """
    directory = Path(directory)
    found, card, mend = brought(directory, local, words, PicturesCard)
    mend = mend.replace("run ", f"run `python -m pipeline.fetch {words}` and ", 1)
    if root is not None:
        now = read_card(root.parent, mend)
        if now is not None and now["sha256"] != card["raw"]["sha256"]:
            raise Refusal(f"{root} holds other pictures than were prepared: run `python -m pipeline.prepare {words}`")
    return Pictures(found, card, root or directory, least, mend)
