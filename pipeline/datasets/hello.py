"""The four-symbol example: "hell" is read, "ello" is asked."""

from collections.abc import Iterator

import numpy as np
from torch import Generator

from pipeline.command.refusal import Refusal
from pipeline.datasets.episodes import Episodes
from pipeline.datasets.space import Space, Symbols
from pipeline.decoding.network import Network
from pipeline.decoding.sampling import draw_symbols

LETTERS = "helo"
WORD = "hello"


class Hello(Episodes):
    """x = h e l l, y = e l l o, in the vocabulary [h, e, l, o]: every episode, of the held-out parts too, is this one.

    Inputs [4], targets [4]. Source: Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks".
    """

    name = "hello"
    reads = answers = Symbols(len(LETTERS))
    longest = len(WORD) - 1
    foretells = True

    def __init__(self):
        super().__init__(seed=0, episodes=1, held=1)

    def draw(self, rng: np.random.Generator) -> tuple:
        word = np.array([LETTERS.index(letter) for letter in WORD])
        return word[:-1], word[1:]

    def encode(self, text: str) -> list[int]:
        """Raises Refusal for other letters, and for none."""
        if not text or set(text) - set(LETTERS):
            raise Refusal(f"{text!r}: data=hello knows h, e, l and o: take those")
        return [LETTERS.index(letter) for letter in text]

    @property
    def names(self) -> list[str]:
        return list(LETTERS)

    def spell(self, space: Space, elements: np.ndarray) -> list[str]:
        return [f"{LETTERS}·"[one] for one in elements.tolist()]

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """What the model answers to "hell", and, on a line of its own, what it writes after "h", each letter read in
        its turn: as many letters as the word has, at most `length`."""
        yield from super().write(network, prompt, temperature, length, generator)
        letters = min(length, self.longest)
        drawn = draw_symbols(network, [0], temperature, letters, generator) if letters else ()
        yield f"{WORD[0]}{''.join(LETTERS[one] for one in drawn)}\n"
