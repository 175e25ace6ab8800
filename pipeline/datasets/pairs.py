"""Sequences that are given, and what each is to be turned into: letters and phones, sentences and their translations.

Shapes: S symbols of a source, T symbols of an answer and its end, B sequences.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Generator

from pipeline.command.refusal import Refusal
from pipeline.datasets.episodes import SHOWN
from pipeline.datasets.ragged import Sequences
from pipeline.datasets.space import Symbols
from pipeline.decoding.greedy import likeliest
from pipeline.decoding.network import Network

AT_ONCE = 250  # sources that are answered side by side
SPARE = 10  # symbols that an answer may have beyond twice its source's


class Alphabet(Protocol):
    """The symbols of one side: pipeline.corpora.vocabulary has some."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> np.ndarray:
        """Indices of the symbols that a text is made of."""

    def decode(self, indices: Sequence[int]) -> str:
        """The text of symbols."""

    def unknown_in(self, text: str) -> str | None:
        """What of a text there is no symbol for, as people write it; None: nothing."""


class Pair(NamedTuple):
    """source  [S] symbols;  answers  those that are right, one or more, [T'] symbols each, without the end"""

    source: np.ndarray
    answers: list[np.ndarray]


class Pairs(Sequences):
    """A source x_1 .. x_S is given, its answer y_1 .. y_T' asked: END y_1 .. y_T' is read, y_1 .. y_T' END answered. The
    last symbol that is read is END. A source with several right answers is read with each of them.

    source, target  the alphabets;  called  what a symbol of each is called
    parts           "train", "validation", "test" -> pairs
    seed            of the order in which a pass reads them
    """

    def __init__(
        self,
        name: str,
        source: Alphabet,
        target: Alphabet,
        called: tuple[str, str],
        parts: dict[str, list[Pair]],
        seed: int,
    ):
        self.source, self.target, self.end, self.pairs = source, target, len(target), parts
        space = Symbols(len(target) + 1, called[1])
        end = np.array([self.end])
        sequences = {
            part: [
                (np.concatenate([end, answer]), np.concatenate([answer, end]), pair.source)
                for pair in pairs
                for answer in pair.answers
            ]
            for part, pairs in parts.items()
        }
        super().__init__(name, space, space, sequences, seed, given=(Symbols(len(source), called[0]),))

    def answered(self, network: Network, sources: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """What the network makes of each source, the likeliest symbol at every step, to END or to twice as many symbols
        as the source has and SPARE."""
        [space] = self.given
        for first in range(0, len(sources), AT_ONCE):
            some = sources[first : first + AT_ONCE]
            given = space.zero(len(some), max(map(len, some)))
            for row, source in zip(given.numpy(), some):
                row[: len(source)] = source
            longest = 2 * given.shape[1] + SPARE
            yield from map(np.array, likeliest(network, (given,), self.end, self.end, longest))

    def check_prompt(self, prompt: str) -> None:
        lacking = self.source.unknown_in(prompt) if prompt else None
        if lacking:
            raise Refusal(f"prompt={prompt!r}: {self.card['corpus']} has no {lacking}: take {self.readable}")

    @property
    def readable(self) -> str:
        """What a prompt may be made of."""
        return "what its training part has"

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """The answer to a prompt; without one, sources of the part that models are judged on with the likeliest answers
        and the right ones."""
        if prompt:
            [answer] = self.answered(network, [self.source.encode(prompt)])
            yield f" {self.target.decode(answer[:length])}"
            return
        some = self.pairs[self.judged_on][:SHOWN] if length else []
        for pair, answer in zip(some, self.answered(network, [pair.source for pair in some])):
            lines = {"given": self.source.decode(pair.source), "answer": self.target.decode(answer[:length])}
            lines |= {"right": "  or  ".join(self.target.decode(one) for one in pair.answers)}
            yield "".join(f"{name:8}{text}\n" for name, text in lines.items()) + "\n"
