"""Sequences of unlike lengths, each read from its own start, in batches of like lengths."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Protocol

import numpy as np
from torch import Generator

from pipeline.command.refusal import Refusal
from pipeline.corpora.parts import make_card
from pipeline.datasets.batch import THROUGHOUT, Batch, Batches, Reading
from pipeline.datasets.data import Data
from pipeline.datasets.episodes import (
    AT_ONCE,
    SHOWN,
    Sequence,
    answered,
    as_sequence,
    dimensions,
    knowing_nothing,
    side_by_side,
    spelled,
)
from pipeline.datasets.space import Space
from pipeline.decoding.network import Network

PASS_SEQUENCES = 256  # of a batch of a pass, where the trainer does not say
PREDICTIONS = 2**24  # numbers of a held-out batch's predictions at most, so that large vocabularies take fewer
BUCKETS = 16  # batches whose sequences are sorted by length together


class Part(Protocol):
    """The sequences of a part, by their numbers.

    lengths  [N], their steps;  given_lengths  [N], numbers that each is given: both are known without making one
    """

    lengths: np.ndarray
    given_lengths: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Sequence: ...


class Listed(list):
    """A part whose sequences are held in memory."""

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.array([len(sequence.inputs) for sequence in self])

    @cached_property
    def given_lengths(self) -> np.ndarray:
        return np.array([sum(part.size for part in given) for *_, given in self])


class Ragged(Data):
    """Sequences of unlike lengths T >= 1 in parts. A subclass says `name`, `parts`, "train" and "validation" and "test"
    if there is one, and `seed`, of the order in which a pass reads them, a whole number from 0."""

    name: str
    parts: Mapping[str, Part]
    seed: int
    at_once = AT_ONCE  # held-out sequences that are read side by side

    def without_parts(self) -> "Ragged":
        copied = super().without_parts()
        copied.parts = {}
        return copied

    def shape(self, batch: int | None, length: int | None) -> tuple[int, None]:
        return min(PASS_SEQUENCES, len(self.parts["train"])) if batch is None else batch, None

    def training(self, batch: int, length: None = None, rank: int = 0, world: int = 1) -> "Bucketed":
        return Bucketed(self, batch, rank, world)

    def held_out(self, part: str, most: int | None = None, reading: Reading = THROUGHOUT) -> Iterator[Batch]:
        """The part's sequences, like lengths together; `most` counts elements and holds one sequence at least."""
        sequences = self.parts[part]
        lengths = sequences.lengths
        if most is not None:
            lengths = lengths[: max(1, int(np.searchsorted(np.cumsum(lengths), most, side="right")))]
        order = np.argsort(lengths, kind="stable")
        predicted = int(lengths.max()) * max(1, self.answers.width)
        at_once = max(1, min(self.at_once, PREDICTIONS // predicted))
        for first in range(0, len(order), at_once):
            yield side_by_side(self, [sequences[k] for k in order[first : first + at_once].tolist()])


class Sequences(Ragged):
    """Sequences that are held in memory, each with its targets and with what is given before its first step.

    parts   "train", "validation", and "test" if there is one -> sequences (inputs [T, ...], targets [T, ...], *given),
            arrays, tensors or lists; T >= 1 differs from one to the other
    seed    of the order in which a pass reads them, a whole number from 0
    Raises Refusal for a part without a sequence, ValueError for sequences that are not what the spaces say.
    """

    def __init__(
        self,
        name: str,
        reads: Space,
        answers: Space,
        parts: dict[str, list[tuple]],
        seed: int,
        given: tuple[Space, ...] = (),
        foretells: bool = False,
    ):
        self.name, self.reads, self.answers, self.given, self.seed = name, reads, answers, given, seed
        self.foretells = foretells
        for part, sequences in parts.items():
            if not sequences:
                raise Refusal(f"data={name}: the {part} part has no sequence: take more data or another split")
        self.parts = {
            part: Listed(as_sequence(self, *sequence) for sequence in sequences) for part, sequences in parts.items()
        }
        checksum = hashlib.sha256(repr((reads, answers, given, seed)).encode())
        for part, sequences in self.parts.items():
            checksum.update(f"{part} {len(sequences)}".encode())
            for inputs, targets, more in sequences:
                for one in (inputs, targets, *more):
                    checksum.update(repr(one.shape).encode() + one.tobytes())
        self.card = make_card(
            name,
            "-".join(str(len(sequences)) for sequences in self.parts.values()),
            {part: int(some.lengths.sum()) for part, some in self.parts.items()},
            checksum.hexdigest(),
        )

    def spell(self, space: Space, elements: np.ndarray) -> list[str]:
        """Each of the elements [T] or [T, D] that are read, answered or given as a short word, for people."""
        return spelled(space, elements)

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """Sequences of the part that models are judged on, with the likeliest answers and the right ones."""
        yield from answered(self, network, iter(self.parts[self.judged_on][:SHOWN]), length)


class Bucketed(Batches):
    """B sequences at each step. A pass reads every sequence once, in an order of its own: shuffled, then sorted by
    length within every BUCKETS batches, those of one length by that of what is given, and the batches shuffled. The
    last batch of all is filled up with sequences of one step at which nothing is asked.

    Raises Refusal for a batch of more sequences than there are.
    """

    def __init__(self, data: Ragged, batch: int, rank: int, world: int):
        super().__init__(batch, rank, world)
        if batch > len(data.parts["train"]):
            raise Refusal(
                f"trainer.batch={batch}: the training part of data={data.name} has {len(data.parts['train']):,} "
                "sequences: take so many at most"
            )
        self.data, self.sequences = data, data.parts["train"]
        lengths = self.sequences.lengths
        self.lengths, self.firsts = lengths, np.concatenate([[0], np.cumsum(lengths)])
        self.given_lengths = self.sequences.given_lengths
        self.longest = int(lengths.max())
        self.nothing = knowing_nothing(data.answers, (sequence.targets for sequence in self.sequences))
        self._pass: tuple[int, list[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        return -(-len(self.sequences) // self.batch)

    @property
    def elements(self) -> int:
        return int(self.firsts[-1])

    def at(self, step: int) -> Batch:
        number, within = divmod(step, len(self))
        if self._pass[0] != number:
            self._pass = number, self._order(number)
        chosen = self._pass[1][within]
        filling = [self._empty()] * (self.batch - len(chosen))
        firsts = [int(self.firsts[k]) for k in chosen] + [0] * len(filling)
        return side_by_side(self.data, [self.sequences[k] for k in chosen] + filling, self.own, firsts)

    def _empty(self) -> Sequence:
        """One step at which nothing is read or asked, given zeros of the others' type."""
        data = self.data
        given = tuple(
            space.zero(*part.shape[: part.ndim - dimensions(space)]).numpy().astype(part.dtype)
            for space, part in zip(data.given, self.sequences[0].given)
        )
        return Sequence(data.reads.zero(1).numpy(), data.answers.blank(1).numpy(), given)

    def _order(self, number: int) -> list[np.ndarray]:
        """The sequences of each batch of a pass."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.data.seed, spawn_key=(number,))))
        order = rng.permutation(len(self.sequences))
        size = BUCKETS * self.batch
        order = np.concatenate(
            [
                some[np.lexsort((self.given_lengths[some], self.lengths[some]))]
                for some in np.split(order, range(size, len(order), size))
            ]
        )
        batches = [order[first : first + self.batch] for first in range(0, len(order), self.batch)]
        return [batches[k] for k in rng.permutation(len(batches))]
