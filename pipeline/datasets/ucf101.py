"""UCF101: what people do in short videos, at every frame. It is not fetched: who has it names its folder."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from PIL import Image as Pictures
from torch import Generator

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Seed
from pipeline.corpora.image import BadPicture, decode
from pipeline.corpora.parts import make_card
from pipeline.datasets.episodes import SHOWN, Sequence
from pipeline.datasets.pictured import pictured
from pipeline.datasets.ragged import Ragged
from pipeline.datasets.space import Image, Symbols
from pipeline.decoding.network import Network

LISTS = "ucfTrainTestlist"
EXPECTED = (
    f"take the folder with CLASS/VIDEO.avi, or CLASS/VIDEO/ with its frames as .jpg or .png, and {LISTS}/ with "
    "classInd.txt, trainlist01.txt and testlist01.txt"
)
NAMED = re.compile(r"(\w+)/(v_\w+_g(\d+)_c\d+)(?:\.avi)?")  # of a line of a list: class, video, its group
NUMBERS = 2**24  # that are read at once of a held-out part


class UCF101(Ragged):
    """Videos of 101 actions (Soomro, Zamir and Shah 2012): T frames, from the first to the last at even steps, all of
    a video that has fewer; at each is asked what is done.

    path        folder of the videos: CLASS/VIDEO.avi, or CLASS/VIDEO/ with frames in the order of their names; and
                `ucfTrainTestlist`, the official lists
    split       1, 2 or 3 of them
    validation  every so manieth of the groups of the training list validates: videos of a group have the same people
                and place
    frames      T, at most;  side  S: frames are scaled to S x S
    seed        of the order in which a pass reads them
    reads Image(3 S^2), 0 to 1; answers Symbols(101). The fingerprint is that of the lists and of the names and sizes
    of the files, not of all that they hold. Raises Refusal where something is missing.
    """

    name = "ucf101"

    def __init__(
        self,
        path: str | None,
        split: Annotated[int, Ge(1)],
        validation: Annotated[int, Ge(2)],
        frames: Count,
        side: Count,
        seed: Seed,
    ):
        folder = Path(path or "").expanduser()
        if path is None or not folder.is_dir():
            raise Refusal(f"data.path={path or 'null'}: UCF101 is not fetched: {EXPECTED}")
        self.seed = seed
        self.classes = classes_of(folder)
        self.reads, self.answers = Image(shape=(3, side, side)), Symbols(len(self.classes), "action")
        listed = videos(folder, f"trainlist0{split}.txt", self.classes)
        groups = sorted({group for *_, group in listed})
        held = set(groups[validation - 1 :: validation])
        lists = {
            "train": [one for one in listed if one[-1] not in held],
            "validation": [one for one in listed if one[-1] in held],
            "test": videos(folder, f"testlist0{split}.txt", self.classes),
        }
        for part, some in lists.items():
            if not some:
                raise Refusal(f"data.path={path}: the {part} part has no video: take complete lists, or another split")
        self.parts = {part: Videos(folder, some, frames, side) for part, some in lists.items()}
        self.at_once = max(1, min(self.at_once, NUMBERS // (frames * self.reads.width)))
        seen = {part: [some.names, some.sizes] for part, some in self.parts.items()}
        text = json.dumps([split, validation, frames, side, seed, self.classes, seen])
        self.card = make_card(
            self.name,
            f"{split}, {'-'.join(str(len(some)) for some in self.parts.values())}",
            {part: int(some.lengths.sum()) for part, some in self.parts.items()},
            hashlib.sha256(text.encode()).hexdigest(),
        )

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """Videos of the test list, frames side by side, with the answers that the model gives and the right ones."""
        for number in range(min(SHOWN, len(self.parts["test"])) if length else 0):
            yield pictured(self, network, self.parts["test"][number], length)


class Videos:
    """The videos of a part as sequences, by their numbers; each is read when it is asked for.

    listed   (class, name with that of its class, group) of each
    lengths  [N], frames that are read of each
    names, sizes  of the videos: in bytes, of one in frames of each file
    """

    def __init__(self, folder: Path, listed: list[tuple[int, str, int]], frames: int, side: int):
        self.folder, self.side = folder, side
        self.labels, self.names = [label for label, *_ in listed], [name for _, name, _ in listed]
        self.files = [files_of(folder, name) for name in self.names]
        self.sizes = [[file.stat().st_size for file in files] for files in self.files]
        counts = [frames if is_video(files) else min(frames, len(files)) for files in self.files]
        self.lengths, self.given_lengths = np.array(counts), np.zeros(len(counts), np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, k: int) -> Sequence:
        files, count = self.files[k], int(self.lengths[k])
        if is_video(files):
            read = frames_of(files[0], count)
        else:
            chosen = [files[at] for at in evenly(len(files), count)]
            read = [opened(file) for file in chosen]
        scaled = [one.resize((self.side, self.side), Pictures.Resampling.BILINEAR) for one in read]
        inputs = np.stack([np.asarray(one).transpose(2, 0, 1).reshape(-1) for one in scaled]) / 255
        return Sequence(inputs, np.full(len(inputs), self.labels[k], np.int64), ())


def lines_of(folder: Path, name: str) -> list[str]:
    path = folder / LISTS / name
    if not path.is_file():
        raise Refusal(f"data.path={folder}: there is no {LISTS}/{name}: {EXPECTED}")
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}, byte {error.start:,}: it is not UTF-8: take the official lists") from error


def classes_of(folder: Path) -> tuple[str, ...]:
    """The names of the classes by their numbers, of lines such as "1 ApplyEyeMakeup"."""
    found = []
    for line in lines_of(folder, "classInd.txt"):
        if len(words := line.split()) != 2:
            path = folder / LISTS / "classInd.txt"
            raise Refusal(f"{path}: {line!r} is no number and name of a class: take the official lists")
        found.append(words[1])
    return tuple(found)


def videos(folder: Path, name: str, classes: tuple[str, ...]) -> list[tuple[int, str, int]]:
    """The class, name and group of each video of an official list."""
    found = []
    for line in lines_of(folder, name):
        match = NAMED.match(line)
        if match is None or match[1] not in classes:
            raise Refusal(
                f"{folder / LISTS / name}: {line!r} names no video of a class of classInd.txt: take the official lists"
            )
        found.append((classes.index(match[1]), f"{match[1]}/{match[2]}", int(match[3])))
    return found


def files_of(folder: Path, name: str) -> list[Path]:
    """The frames of a video in the order of their names, or the one file that it is."""
    frames = folder / name
    if frames.is_dir():
        found = sorted(file for file in frames.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    else:
        found = [file for file in [frames.with_name(f"{frames.name}.avi")] if file.is_file()]
    if not found:
        raise Refusal(f"data.path={folder}: there are no frames in {name}/, and no {name}.avi: {EXPECTED}")
    return found


def is_video(files: list[Path]) -> bool:
    return files[0].suffix == ".avi"


def opened(file: Path) -> Pictures.Image:
    try:
        return decode(file)[0]
    except BadPicture as error:
        raise Refusal(f"{file}: {error}: extract the frames again") from error


def frames_of(file: Path, count: int) -> list[Pictures.Image]:
    """`count` frames of a video from its first to its last; frames are read twice where it has fewer."""
    try:
        import av
    except ImportError as error:
        raise Refusal(
            f"{file}: videos are read by PyAV, which is not installed: pip install av, or extract their frames into "
            "folders"
        ) from error
    try:
        with av.open(str(file)) as video:
            frames = [frame.to_image() for frame in video.decode(video=0)]
    except av.FFmpegError as error:
        raise Refusal(f"{file} is no video that can be read ({error}): fetch it again") from error
    if not frames:
        raise Refusal(f"{file} has no frames: fetch it again")
    return [frames[at] for at in evenly(len(frames), count)]


def evenly(total: int, count: int) -> list[int]:
    """`count` of the numbers 0 .. total - 1, the first and the last and what is between at even steps."""
    return np.linspace(0, total - 1, count).round().astype(int).tolist()
