"""Bach's chorales in four parts."""

import io
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from pipeline.command.setting import Seed
from pipeline.corpora.arrays import Arrays
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.packages import Pip
from pipeline.corpora.unpack import from_zip
from pipeline.datasets.ragged import Sequences
from pipeline.datasets.space import Bits

WHEEL = "dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1"
FOLDER = "music21/corpus/bach/"
PARTS = 4
TICKS = 10080  # of a quarter note: what the scores' own divisions divide
FRAMES = {"quarter": 1, "eighth": 2, "sixteenth": 4}  # of a quarter note
LOWEST, KEYS = 21, 88  # MIDI number of the piano's lowest key, A0, and its keys
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
HELD = {3: "validation", 4: "test"}  # number of a chorale modulo 5 -> its part; the others train


@dataclass
class Chorales(Arrays):
    """x_t in {0, 1}^88: which keys of the piano sound at frame t; asked is x_{t+1}. The chorales in four parts of the
    package music21, each in one key only, as written: repeats are not played, and a note that is struck again is not
    told from one that is held.

    frame  the note value from one frame to the next
    seed   of the order in which a pass reads them
    reads, answers  Bits(88), key k MIDI note 21 + k; the last frame of a chorale is read and nothing is asked of it.
    Parts: of the chorales in the order of their catalogue numbers three of every five train, the fourth validates, the
    fifth tests. These are not the chorales, nor the parts, of the JSB data of Boulanger-Lewandowski et al. 2012, which
    are of the same music in quarter notes: losses are of one kind with theirs and do not compare.
    """

    frame: Literal["quarter", "eighth", "sixteenth"]
    seed: Seed

    def originals(self) -> list[Original]:
        return [
            Original(
                "music: public domain; encodings: as music21's corpus/license.txt says, not all for commercial use",
                place_scores,
                "music21-10.5.1-py3-none-any.whl",
                Pip("music21", "10.5.1", WHEEL, wheel=True),
                "10.5.1",
                sha256=WHEEL,
            )
        ]

    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """notes [N, 4]: the chorale's number, MIDI pitch, and beginning and end in TICKS of a quarter note."""
        found = without_repeats(notes for notes in map(notes_of, paths) if notes is not None)
        if not found:
            raise CorpusError("no score is in four parts: fetch the package again")
        return {
            "notes": np.concatenate(
                [np.column_stack([np.full(len(notes), number), notes]) for number, notes in enumerate(found)]
            )
        }

    def open(self, local: str | None = None) -> Sequences:
        notes, space = np.asarray(self.read(local)["notes"]), Bits(KEYS)
        parts = {"train": [], "validation": [], "test": []}
        for number in range(int(notes[-1, 0]) + 1):
            roll = piano_roll(notes[notes[:, 0] == number, 1:], TICKS // FRAMES[self.frame])
            targets = np.concatenate([roll[1:], space.blank(1).numpy()])
            parts[HELD.get(number % 5, "train")].append((roll, targets))
        return Sequences("chorales", space, space, parts, self.seed, foretells=True)


def without_repeats(chorales: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The first of those that are the same but for their key."""
    found = {}
    for notes in chorales:
        roll = piano_roll(notes, TICKS // FRAMES["sixteenth"])
        lowest = np.flatnonzero(roll.any(0))[0]
        found.setdefault(np.roll(roll, -lowest, axis=1).astype(bool).tobytes(), notes)
    return list(found.values())


def place_scores(path: Path, folder: Path) -> list[str]:
    """The scores of the package, by catalogue number."""

    def score(member: str) -> str | None:
        chosen = member.startswith(FOLDER) and PurePosixPath(member).suffix in (".mxl", ".xml")
        return member.removeprefix(FOLDER) if chosen else None

    return sorted(from_zip(path, folder, score), key=by_number)


def by_number(name: str) -> list[tuple[int, str]]:
    """For sorting: bwv2.6 before bwv10.7."""
    return [(int(digits or 0), other) for digits, other in re.findall(r"(\d+)|(\D+)", name)]


def notes_of(path: Path) -> np.ndarray | None:
    """Pitch, beginning and end of each note [N, 3] of a MusicXML score, packed or not; None for one that is not in
    PARTS parts. CorpusError: it is none."""
    content = path.read_bytes()
    try:
        if path.suffix == ".mxl":
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                [score] = [one for one in packed.namelist() if one.endswith("xml") and not one.startswith("META-INF/")]
                content = packed.read(score)
        parts = ET.fromstring(content).findall("part")
        if len(parts) != PARTS:
            return None
        notes, begin, divisions = [], 0, [1] * PARTS
        for measures in zip(*(part.findall("measure") for part in parts), strict=True):
            divisions = [
                int(measure.findtext("attributes/divisions") or before) for measure, before in zip(measures, divisions)
            ]
            begin = max(read_measure(*one, begin, notes) for one in zip(measures, divisions))
    except (ET.ParseError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise CorpusError(f"{path.name} is no score in MusicXML: {error}") from error
    return np.array(notes, dtype=np.int64)


def read_measure(measure: ET.Element, divisions: int, begin: int, notes: list[tuple[int, int, int]]) -> int:
    """Adds the notes of one part's measure that begins at tick `begin`; returns where it ends.

    divisions  of a quarter note, in which the measure states durations
    Raises ValueError, KeyError for a note that says no duration or pitch.
    """
    now = struck = end = begin
    for element in measure:
        ticks = int(element.findtext("duration", "0")) * TICKS // divisions
        if element.tag == "backup":
            now -= ticks
        elif element.tag == "forward":
            now += ticks
        elif element.tag == "note" and element.find("grace") is None:
            if element.find("chord") is None:
                struck, now = now, now + ticks
            if (pitch := element.find("pitch")) is not None:
                octave, alter = (int(pitch.findtext(name, "0")) for name in ("octave", "alter"))
                notes.append((12 * (octave + 1) + STEPS[pitch.findtext("step")] + alter, struck, struck + ticks))
        end = max(end, now)
    return end


def piano_roll(notes: np.ndarray, frame: int) -> np.ndarray:
    """Notes [N, 3] of pitch, beginning and end -> which keys sound at ticks 0, `frame`, .. [T, KEYS], 0 or 1."""
    roll = np.zeros((-(-notes[:, 2].max() // frame), KEYS))
    for pitch, begin, end in notes:
        roll[-(-begin // frame) : -(-end // frame), pitch - LOWEST] = 1
    return roll
