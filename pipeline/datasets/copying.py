"""The copying problem: a message, blanks, and the message again."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from pipeline.command.setting import Seed, Split
from pipeline.corpora.parts import make_card, split_borders
from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.text import Text

BLANK, RECALL, END = ".", "?", "\n"


class Recalled(Text):
    """Symbols with the places where something is to be recalled.

    recall   [episode] boolean: symbol i of each episode is, as a target, one that only memory predicts
    bits     that an episode asks to remember
    Every part holds whole episodes.
    """

    def __init__(self, prepared: Prepared, recall: np.ndarray, bits: float):
        super().__init__(prepared)
        self.recall, self.bits = recall, bits

    @property
    def episode(self) -> int:
        """Symbols of an episode."""
        return len(self.recall)


@dataclass(frozen=True)
class Copying:
    """Episodes of message, `delay` blanks, recall mark, the message again, end mark: 01101......?01101 (lecture, "a
    fundamental limitation of HMMs"; the noiseless memorization of Martens & Sutskever 2011 as a stream of symbols).

    message   symbols a message has, each drawn uniformly and independently from the `alphabet` digits 0, 1, ..;
              message >= 1, 2 <= alphabet <= 10
    delay     blanks, >= 0
    episodes  in all parts together;  split  them, per cent of training, validation and test part
    bits      message log2(alphabet), what is to be remembered in an episode
    A model carries bits - loss over an episode's recalled symbols in bits (pipeline.probes.memory). Knowing the task
    and remembering nothing carries 0, a perfect memory all, an HMM with N states at most log2 N in the mean over
    messages: each of its states predicts messages with probabilities that sum to 1, so those that all of them give
    their messages sum to N at most.
    """

    message: Annotated[int, Ge(1), Le(10_000)]
    delay: Annotated[int, Ge(0), Le(1_000_000)]
    alphabet: Annotated[int, Ge(2), Le(10)]
    episodes: Annotated[int, Ge(1), Le(10_000_000)]
    seed: Seed
    split: Split

    @property
    def bits(self) -> float:
        return self.message * math.log2(self.alphabet)

    def open(self, local: str | None = None) -> Recalled:
        """Its symbols (uint8), vocabulary, and where the message is to be recalled."""
        digits = "0123456789"[: self.alphabet]
        vocabulary = Vocabulary("characters", sorted(map(ord, digits + BLANK + RECALL + END)))
        drawn = np.random.default_rng(self.seed).integers(self.alphabet, size=(self.episodes, self.message))
        messages = vocabulary.encode(digits)[drawn]
        filling = np.tile(vocabulary.encode(BLANK * self.delay + RECALL), (self.episodes, 1))
        end = np.tile(vocabulary.encode(END), (self.episodes, 1))
        symbols = np.concatenate([messages, filling, messages, end], axis=1)
        recall = np.zeros(symbols.shape[1], bool)
        recall[-1 - self.message : -1] = True
        borders = split_borders(self.episodes, self.split, f"data.episodes={self.episodes}")
        parts = {part: symbols[border].ravel() for part, border in borders.items()}
        counts = {part: len(some) for part, some in parts.items()}
        checksum = hashlib.sha256((vocabulary.to_json() + json.dumps(counts)).encode())
        for some in parts.values():
            checksum.update(some)
        card = make_card("copying", self.split, counts, checksum.hexdigest(), symbols=vocabulary.symbols)
        return Recalled(Prepared(parts, vocabulary, card), recall, self.bits)
