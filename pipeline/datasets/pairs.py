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
from pipeline.decoding.beam import beam_search
from pipeline.decoding.network import Network

AT_ONCE = 250  # sources that are answered side by side
SPARE = 10  # symbols that an answer may have beyond twice its source's


class Alphabet(Protocol):
    """The symbols of one side: pipeline.corpora.vocabulary has some."""

    symbols: str  # "characters", or "words", where a symbol stands for all that are unknown

    def __len__(self) -> int: ...

    def encode(self, text: str) -> np.ndarray:
        """Indices of the symbols that a text is made of."""

    def decode(self, indices: Sequence[int]) -> str:
        """The text of symbols."""

    def unknown_in(self, text: str) -> str | None:
        """What of a text there is no symbol for, as people write it; None: nothing."""


class Pair(NamedTuple):
    """source   [S] symbols
    answers  those that are right, one or more, [T'] symbols each, without the end
    texts    the source and its answer as people wrote them, where symbols do not say all of it
    """

    source: np.ndarray
    answers: list[np.ndarray]
    texts: tuple[str, str] | None = None


class Pairs(Sequences):
    """A source x_1 .. x_S is given, its answer y_1 .. y_T' asked: END y_1 .. y_T' is read, y_1 .. y_T' END answered.
    END is the last of the symbols that are read, V - 1. A source with several right answers is read with each of them.

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

    asked_with = "text"

    def without_parts(self) -> "Pairs":
        copied = super().without_parts()
        copied.pairs = {}
        return copied

    def answered(self, network: Network, sources: Sequence[np.ndarray], beam: int = 1) -> Iterator[np.ndarray]:
        """What the network makes of each source, up to twice as many symbols as the longest source has, and SPARE.

        beam  width of the beam; 1: the likeliest symbol at every step
        """
        [space] = self.given
        for first in range(0, len(sources), AT_ONCE):
            some = sources[first : first + AT_ONCE]
            given = space.zero(len(some), max(map(len, some)))
            for row, source in zip(given.numpy(), some):
                row[: len(source)] = source
            longest = 2 * given.shape[1] + SPARE
            for best, *_ in beam_search(network, self.end, self.end, beam, longest, (given.to(network.device),)):
                yield np.array(best.symbols, np.int64)

    def written(self, pair: Pair) -> tuple[str, list[str]]:
        """A source and its right answers, as people write them."""
        if pair.texts is not None:
            return pair.texts[0], [pair.texts[1]]
        return self.source.decode(pair.source), [self.target.decode(answer) for answer in pair.answers]

    def check_prompt(self, prompt: str) -> str | None:
        lacking = self.source.unknown_in(prompt) if prompt else None
        if lacking is None:
            return None
        if self.source.symbols == "words":
            return f"the training part lacks {lacking}: read as unknown"
        raise Refusal(f"prompt={prompt!r}: {self.card['corpus']} is not written with {lacking}: {self.readable}")

    @property
    def readable(self) -> str:
        """What a prompt is to be made of, as the end of a refusal."""
        return f"take characters among {self.source.decode(range(len(self.source)))}"

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
            text, right = self.written(pair)
            lines = {"given": text, "answer": self.target.decode(answer[:length]), "right": "  or  ".join(right)}
            yield "".join(f"{name:8}{text}\n" for name, text in lines.items()) + "\n"
