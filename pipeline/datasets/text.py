"""Contiguous text: symbols read, the next one guessed at every step."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator

from pipeline.corpora.prepared import Prepared
from pipeline.datasets.batch import THROUGHOUT, Batch, Reading
from pipeline.datasets.contiguous import Windows, held_out_places
from pipeline.datasets.data import Data
from pipeline.datasets.space import Symbols
from pipeline.decoding.network import Network
from pipeline.decoding.sampling import draw_symbols

ELEMENTS = {"characters": "char", "bytes": "byte", "words": "word"}
STREAMS, LENGTH = 32, 250  # of the held-out parts, as they are read
PREDICTED = 2**21  # predicted numbers of a batch of them: large vocabularies take shorter ones, which a cache holds
PASS_STREAMS, PASS_LENGTH = 512, 200  # of a pass over the training part, where the trainer does not say


class Text(Data):
    """Symbols in three parts (two where `judged_on` is "validation"), memory-mapped arrays (n,) of indices 0..V.

    reads, answers  Symbols(V); V, "unknown", is read as a zero input and not asked
    prompts         beginnings that finished models are asked to complete
    """

    foretells = contiguous = True
    context = 500
    asked_with = "text"

    def __init__(self, prepared: Prepared):
        self.parts, self.vocabulary, self.card = prepared.parts, prepared.vocabulary, prepared.card
        self.prompts = prepared.prompts
        self.reads = self.answers = Symbols(len(self.vocabulary), ELEMENTS[self.vocabulary.symbols])

    def without_parts(self) -> "Text":
        copied = super().without_parts()
        copied.parts = {}
        return copied

    def shape(self, batch: int | None, length: int | None) -> tuple[int, int]:
        elements = len(self.parts["train"])
        if length is None:
            length = min(PASS_LENGTH, elements - 1)
        if batch is None:
            batch = 2 ** int(math.log2(min(PASS_STREAMS, max(1, elements // (5 * length)))))
        return batch, length

    def training(self, batch: int, length: int, rank: int = 0, world: int = 1) -> "TextWindows":
        return TextWindows(self.parts["train"], self.reads.count, batch, length, rank, world)

    def held_out(self, part: str, most: int | None = None, reading: Reading = THROUGHOUT) -> Iterator[Batch]:
        """Read in up to STREAMS streams side by side; each but the first reads the `burn_in` symbols before its own
        first."""
        symbols, V = self.parts[part][:most], self.reads.count
        length = max(1, min(LENGTH, PREDICTED // (STREAMS * V)))
        places = held_out_places(len(symbols) - 1, STREAMS, self.burn_in(reading), length, reading.restart)
        for at_TB, asked_TB, carried in places:
            targets = np.where(asked_TB, symbols[at_TB + 1], V).astype(np.int64)
            inputs = torch.from_numpy(symbols[at_TB].astype(np.int64))
            count = int((targets != V).sum())
            yield Batch(inputs, torch.from_numpy(targets), count, carried, positions=torch.from_numpy(at_TB))

    def measured(self, loss: float, part: str) -> dict[str, float]:
        """By words, and by the characters of tokens: also the bits of a character, per_character, so that these
        compare. Words outside the vocabulary are asked as one that stands for them, and then spelled letter by letter:
        pipeline.corpora.wording.Spelling."""
        measured, card = super().measured(loss, part), self.card
        if "spelling" in card:
            nats = loss * card["counts"][part] + card["spelling"][part]
            measured["per_character"] = nats / card["characters"][part] / math.log(2)
        elif card.get("tokens"):
            measured["per_character"] = measured["bits"]
        return measured

    def check_prompt(self, prompt: str) -> str | None:
        unknown = self.vocabulary.unknown_in(prompt)
        return f"{self.card['corpus']} has never seen {unknown}: read as unknown" if unknown else None

    def encode(self, text: str) -> list[int]:
        """What is outside the vocabulary is unknown, V. A text without symbols stands for a line break, or for the
        first symbol of a vocabulary without one."""
        [line_break] = self.vocabulary.encode("\n").tolist()
        return self.vocabulary.encode(text).tolist() or [line_break if line_break < self.reads.count else 0]

    @property
    def names(self) -> list[str]:
        return self.vocabulary.names

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """x_{t+1} ~ softmax(logits_t / temperature), `length` symbols, a piece of text each; where a symbol is a byte,
        an empty piece until a character is whole.

        prompt  symbols outside the vocabulary are read as unknown (a zero input); an empty one as `encode` has it
        """
        spell = self.vocabulary.speller()
        for symbol in draw_symbols(network, self.encode(prompt), temperature, length, generator):
            yield spell(symbol)


class TextWindows(Windows):
    """Windows of B streams over `symbols` (n,), values 0..V: inputs, targets [T, B], V where a stream has ended."""

    def __init__(self, symbols: np.ndarray, vocabulary: int, batch: int, length: int, rank: int = 0, world: int = 1):
        super().__init__(len(symbols), "symbols", "text", batch, length, rank, world)
        self.symbols, self.vocabulary = symbols, vocabulary
        self.nothing = math.log(vocabulary)

    def at(self, step: int) -> Batch:
        at_TB, inside_TB, carried = self.places(step)
        own_TB = at_TB[:, self.own]
        inputs = self.symbols[own_TB].astype(np.int64)
        targets = np.where(inside_TB[:, self.own], self.symbols[own_TB + 1], self.vocabulary).astype(np.int64)
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(targets),
            int(inside_TB.sum()),
            carried,
            positions=torch.from_numpy(own_TB),
        )
