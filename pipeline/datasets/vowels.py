"""Japanese vowels: which of nine speakers said it, and how it goes on."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from pipeline.command.setting import Seed
from pipeline.corpora.arrays import Arrays
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.packages import Pip
from pipeline.corpora.unpack import from_zip
from pipeline.datasets.ragged import Sequences
from pipeline.datasets.space import Reals, Symbols

WHEEL = "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae"
FILES = ("JapaneseVowels_TRAIN.ts", "JapaneseVowels_TEST.ts")
WIDTH, SPEAKERS = 12, 9


@dataclass
class Vowels(Arrays):
    """x_t in R^12, the coefficients of a linear prediction of one frame of speech; 7 to 29 frames are an utterance of
    the vowels /ae/ (Kudo, Toyama and Shimbo 1999, Multidimensional curve classification using passing-through regions).

    task         "foretell": asked is x_{t+1} at every frame but the last;  "speaker": at the last frame, which of the
                 nine speakers it was
    validation   every so manieth of the 270 training utterances validates, so that each speaker has his share; the 370
                 test utterances are the standard ones
    standardize  by the mean and standard deviation of each coefficient over the frames that train
    seed         of the order in which a pass reads them
    reads Reals(12); answers Reals(12), or Symbols(9)
    """

    task: Literal["foretell", "speaker"]
    validation: Annotated[int, Ge(2)]
    standardize: bool
    seed: Seed

    def originals(self) -> list[Original]:
        return [
            Original(
                "UEA archive; as the package sktime, BSD-3-Clause",
                place_utterances,
                "sktime-1.2.0-py3-none-any.whl",
                Pip("sktime", "1.2.0", WHEEL, wheel=True),
                "1.2.0",
                sha256=WHEEL,
            )
        ]

    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """Of "train" and "test": <part>_frames [sum of T, 12], <part>_lengths [N] and <part>_speakers [N], 0..8."""
        found = {}
        for part, path in zip(("train", "test"), paths, strict=True):
            utterances, speakers = zip(*read_utterances(path))
            found[f"{part}_frames"] = np.concatenate(utterances)
            found[f"{part}_lengths"] = np.array([len(one) for one in utterances])
            found[f"{part}_speakers"] = np.array(speakers)
        return found

    def open(self, local: str | None = None) -> Sequences:
        arrays, reads = self.read(local), Reals(WIDTH)
        answers = reads if self.task == "foretell" else Symbols(SPEAKERS, "speaker")
        every, test = (
            list(zip(np.split(arrays[f"{part}_frames"], np.cumsum(arrays[f"{part}_lengths"])[:-1]), speakers))
            for part, speakers in ((part, arrays[f"{part}_speakers"].tolist()) for part in ("train", "test"))
        )
        parts = {
            "train": [one for k, one in enumerate(every, 1) if k % self.validation],
            "validation": [one for k, one in enumerate(every, 1) if not k % self.validation],
            "test": test,
        }
        frames = np.concatenate([utterance for utterance, _ in parts["train"]])
        mean, std = (frames.mean(0), frames.std(0)) if self.standardize else (0.0, 1.0)

        def asked(utterance: np.ndarray, speaker: int) -> tuple[np.ndarray, np.ndarray]:
            x, targets = (utterance - mean) / std, answers.blank(len(utterance)).numpy()
            if self.task == "foretell":
                targets[:-1] = x[1:]
            else:
                targets[-1] = speaker
            return x, targets

        sequences = {part: [asked(*one) for one in some] for part, some in parts.items()}
        return Sequences("vowels", reads, answers, sequences, self.seed, foretells=self.task == "foretell")


def place_utterances(path: Path, folder: Path) -> list[str]:
    names = from_zip(path, folder, lambda member: name if (name := PurePosixPath(member).name) in FILES else None)
    return sorted(names, key=FILES.index)


def read_utterances(path: Path) -> list[tuple[np.ndarray, int]]:
    """The utterances [T, 12] of a .ts file with their speakers 0..8: after "@data" one a line, its coefficients and its
    speaker, 1..9, divided by colons. CorpusError: it is no such file."""
    try:
        _, lines = path.read_text(encoding="utf-8").split("@data\n")
        found = []
        for line in lines.splitlines():
            *series, speaker = line.split(":")
            if len(series) != WIDTH or not 1 <= int(speaker) <= SPEAKERS:
                raise ValueError(f"a line has {len(series)} coefficients and speaker {speaker}")
            found.append((np.array([one.split(",") for one in series], dtype=np.float64).T, int(speaker) - 1))
    except ValueError as error:
        raise CorpusError(f"{path.name} holds no utterances: {error}") from error
    return found
