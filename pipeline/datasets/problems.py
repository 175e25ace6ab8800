"""Problems posed in symbols, made in memory, the same for the same configuration."""

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np

from pipeline.command.refusal import Refusal
from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.series import PARTS, split_borders

BLANK, RECALL, END = ".", "?", "\n"


@dataclass(frozen=True)
class Recalled(Prepared):
    """Symbols with the places where something is to be recalled."""

    # part -> boolean, like the part: symbol i is, as a target, one that only memory foretells
    recall: dict[str, np.ndarray]
    episode: int  # symbols of an episode; every part holds whole ones
    bits: float  # that an episode asks to remember


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
    messages: each of its states foretells messages with probabilities that sum to 1, so those that all of them give
    their messages sum to N at most.
    """

    message: int
    delay: int
    alphabet: int
    episodes: int
    seed: int
    split: str

    @property
    def bits(self) -> float:
        return self.message * math.log2(self.alphabet)

    def generate(self) -> Recalled:
        """Its symbols (uint8), vocabulary, and where the message is to be recalled; the parts hold whole episodes."""
        for name, least, most in (
            ("message", 1, math.inf),
            ("delay", 0, math.inf),
            ("alphabet", 2, 10),
            ("episodes", 1, math.inf),
        ):
            if not least <= getattr(self, name) <= most:
                raise Refusal(
                    f"data.{name}={getattr(self, name)}: take a whole number from {least}"
                    + f" to {most}" * (most < math.inf)
                )
        digits = "0123456789"[: self.alphabet]
        vocabulary = Vocabulary("characters", sorted(map(ord, digits + BLANK + RECALL + END)))
        messages = vocabulary.encode(digits)[
            np.random.default_rng(self.seed).integers(self.alphabet, size=(self.episodes, self.message))
        ]
        filling = np.tile(vocabulary.encode(BLANK * self.delay + RECALL), (self.episodes, 1))
        end = np.tile(vocabulary.encode(END), (self.episodes, 1))
        symbols = np.concatenate([messages, filling, messages, end], axis=1)
        recall = np.zeros(symbols.shape, bool)
        recall[:, -1 - self.message : -1] = True
        borders = split_borders(self.episodes, self.split, "data.episodes")
        parts = {part: symbols[border].ravel() for part, border in borders.items()}
        places = {part: recall[border].ravel() for part, border in borders.items()}
        return Recalled(
            **parts,
            vocabulary=vocabulary,
            card=_card("copying", self.split, parts, vocabulary),
            recall=places,
            episode=symbols.shape[1],
            bits=self.bits,
        )


def _card(name: str, split: str, parts: dict[str, np.ndarray], vocabulary: Vocabulary) -> dict:
    """As pipeline.corpora.preparation writes one."""
    counts = {part: len(parts[part]) for part in PARTS}
    checksum = hashlib.sha256((vocabulary.to_json() + json.dumps(counts)).encode())
    for part in PARTS:
        checksum.update(parts[part])
    return {
        "corpus": name,
        "symbols": vocabulary.symbols,
        "split": split,
        "vocabulary": len(vocabulary),
        "counts": counts,
        "unknown": dict.fromkeys(PARTS[1:], 0),
        "fingerprint": checksum.hexdigest(),
    }
