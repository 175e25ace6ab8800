"""Episodes drawn on the fly: problems of which there is no end of examples.

Shapes: T time, B episodes, N episodes of a block, D width of what is read, O width of what is answered.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import ListConfig
from torch import Generator, Tensor

from pipeline.command.setting import Count, Seed
from pipeline.corpora.parts import make_card
from pipeline.datasets.batch import THROUGHOUT, Batch, Batches, Reading
from pipeline.datasets.data import Data
from pipeline.datasets.space import Bits, Space, Symbols
from pipeline.decoding.network import Network, evaluating

PASS_EPISODES = 512  # of a batch of a pass, where the trainer does not say
AT_ONCE = 500  # held-out episodes that are read side by side
BLOCK = 500  # episodes that a problem draws at once
KEPT_BLOCKS = 4  # of them, those used last
SHOWN = 8  # episodes that `write` answers
LINE = 110  # characters of a line that `write` writes
STREAMS = {"train": 0, "validation": 1, "test": 2}  # of random numbers


class Sequence(NamedTuple):
    """inputs  [T] symbols, int64, or [T, D] numbers, float64;  targets  [T] or [T, O], blank where nothing is asked;
    given  what is known before the first step: a symbol [], numbers [D], or a sequence of either [S, ...]"""

    inputs: np.ndarray
    targets: np.ndarray
    given: tuple[np.ndarray, ...]


class Episodes(Data):
    """A problem. A new one is a subclass in a file of its own that says `reads`, `answers`, `longest` and `draw`.

    seed      of all episodes;  episodes  of a pass over the training part, fresh ones in each pass
    held      episodes of the validation part, and of the test part
    Every episode is a function of (seed, part, its number): what is read does not depend on the batch's share that a
    rank has, and a continuation reads on where it was stopped.
    """

    name = "episodes"
    longest: int  # steps of the longest episode

    def __init__(self, seed: Seed, episodes: Count, held: Count):
        self.seed, self.episodes, self.held = seed, episodes, held

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> tuple:
        """One episode: inputs [T] or [T, D], targets [T] or [T, O], blank where nothing is asked, 1 <= T <= longest;
        and what is given before the first step, if anything is. Arrays or tensors; nothing but `rng` is random."""

    def spell(self, space: Space, elements: np.ndarray) -> list[str]:
        """Each of the elements [T] or [T, D] that are read, answered or given as a short word, for people."""
        return spelled(space, elements)

    def settings(self) -> dict:
        """All that decides what is drawn, part of the data's fingerprint: the attributes, but for names that begin with
        an underscore and for what is cached."""
        return {
            key: value
            for key, value in vars(self).items()
            if not (key.startswith("_") or isinstance(getattr(type(self), key, None), cached_property))
        }

    @property
    def card(self) -> dict:
        counts = {"train": self.episodes, "validation": self.held, "test": self.held}
        drawn_by = f"{type(self).__module__}.{type(self).__qualname__}"
        spaces = (self.reads, self.answers, tuple(self.given))
        text = json.dumps([drawn_by, _plain("its spaces", spaces), _plain("settings", self.settings())], sort_keys=True)
        elements = {part: count * self.longest for part, count in counts.items()}
        return make_card(self.name, "drawn", elements, hashlib.sha256(text.encode()).hexdigest())

    def drawn(self, part: str, number: int) -> Sequence:
        """Episode `number` = 0, 1, .. of a part."""
        key = np.random.SeedSequence(self.seed, spawn_key=(STREAMS[part], number))
        sequence = as_sequence(self, *self.draw(np.random.Generator(np.random.PCG64(key))))
        if len(sequence.inputs) > self.longest:
            raise ValueError(f"{self.name} draws {len(sequence.inputs)} steps, more than its longest={self.longest}")
        return sequence

    def drawn_side_by_side(
        self, part: str, numbers: range, own: slice = slice(None), place: int | None = None
    ) -> Batch:
        """Consecutive episodes of a part as one batch.

        own    the share of them that is kept: its T and count are those of all
        place  of the first one in the training part, in episodes; None: the batch has no positions
        """
        firsts = None if place is None else [(place + k) * self.longest for k in range(len(numbers))]
        return side_by_side(self, [self.drawn(part, number) for number in numbers], own, firsts)

    def shape(self, batch: int | None, length: int | None) -> tuple[int, None]:
        return min(PASS_EPISODES, self.episodes) if batch is None else batch, None

    def training(self, batch: int, length: None = None, rank: int = 0, world: int = 1) -> "EpisodeBatches":
        return EpisodeBatches(self, batch, rank, world)

    def held_out(self, part: str, most: int | None = None, reading: Reading = THROUGHOUT) -> Iterator[Batch]:
        """The part's episodes, whole; `most` counts elements and holds one episode at least."""
        count = self.held if most is None else max(1, min(self.held, most // self.longest))
        for first in range(0, count, AT_ONCE):
            yield self.drawn_side_by_side(part, range(first, min(first + AT_ONCE, count)))

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """Test episodes with the answers that the model gives, likeliest ones, and those that are right."""
        yield from answered(self, network, (self.drawn("test", k) for k in range(min(SHOWN, self.held))), length)


class Block(NamedTuple):
    """BLOCK episodes, not to be changed: inputs [T, N] or [T, N, D], targets [T, N] or [T, N, O], given [N, ...] each;
    inside [T, N], true up to an episode's end; lengths [N]; asked [N], the numbers that each episode is asked."""

    inputs: Tensor
    targets: Tensor
    given: tuple[Tensor, ...]
    inside: Tensor
    lengths: np.ndarray
    asked: np.ndarray


class BlockEpisodes(Episodes):
    """A problem that draws many episodes at once, by `draw_many` in place of `draw`: a training step then waits for its
    episodes no longer than for a dozen that are drawn one by one.

    Episode k of a part is episode k mod BLOCK of block k div BLOCK, and a block is a function of (seed, part, its
    number). Each rank draws the blocks of the whole batch: its T and count are those of all ranks.
    """

    def __init__(self, seed: Seed, episodes: Count, held: Count):
        super().__init__(seed, episodes, held)
        self._blocks: dict[tuple[str, int], Block] = {}  # by part and number, the last one used at the end

    def without_parts(self) -> "BlockEpisodes":
        copied = super().without_parts()
        copied._blocks = {}
        return copied

    @abstractmethod
    def draw_many(self, rng: np.random.Generator, count: int) -> tuple:
        """B = count episodes of T = longest steps: inputs [T, B] or [T, B, D], targets [T, B] or [T, B, O], blank where
        nothing is asked, and what is given before the first step [B, ...], if anything is. A shorter episode ends with
        the last step at which it is asked anything, and its inputs after that are not read. Arrays or tensors, new
        ones; nothing but `rng` is random."""

    def draw_of(self, part: str, rng: np.random.Generator, count: int) -> tuple:
        """`draw_many` for a part, where parts are not made of the same things."""
        return self.draw_many(rng, count)

    def draw(self, rng: np.random.Generator) -> tuple:
        """One episode, of no block."""
        inputs, targets, *given = self.draw_many(rng, 1)
        return inputs[:, 0], targets[:, 0], *(part[0] for part in given)

    def block(self, part: str, number: int) -> Block:
        """Episodes number BLOCK .. (number + 1) BLOCK - 1 of a part."""
        found = self._blocks.pop((part, number), None)
        if found is None:
            key = np.random.SeedSequence(self.seed, spawn_key=(STREAMS[part], number))
            found = as_block(self, *self.draw_of(part, np.random.Generator(np.random.PCG64(key)), BLOCK))
            if len(self._blocks) == KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        self._blocks[part, number] = found
        return found

    def located(self, part: str, numbers: range) -> list[tuple[Block, slice]]:
        """The blocks in which consecutive episodes are, and where in them."""
        found, first = [], numbers.start
        while first < numbers.stop:
            number, at = divmod(first, BLOCK)
            some = min(BLOCK - at, numbers.stop - first)
            found.append((self.block(part, number), slice(at, at + some)))
            first += some
        return found

    def drawn(self, part: str, number: int) -> Sequence:
        [(block, at)] = self.located(part, range(number, number + 1))
        steps = block.lengths[at.start]
        inputs, targets = (elements[:steps, at.start].numpy().copy() for elements in block[:2])
        return Sequence(inputs, targets, tuple(some[at.start].numpy().copy() for some in block.given))

    def drawn_side_by_side(
        self, part: str, numbers: range, own: slice = slice(None), place: int | None = None
    ) -> Batch:
        every = self.located(part, numbers)
        kept = every if own == slice(None) else self.located(part, numbers[own])
        steps = max(int(block.lengths[at].max()) for block, at in every)
        positions = None
        if place is not None:
            firsts = (place + torch.arange(len(numbers))[own]) * self.longest
            inside = torch.cat([block.inside[:steps, at] for block, at in kept], 1)
            positions = (firsts + torch.arange(steps)[:, None]) * inside
        return Batch(
            torch.cat([block.inputs[:steps, at] for block, at in kept], 1),
            torch.cat([block.targets[:steps, at] for block, at in kept], 1),
            sum(int(block.asked[at].sum()) for block, at in every),
            given=tuple(map(torch.cat, zip(*([some[at] for some in block.given] for block, at in kept)))),
            positions=positions,
        )


def as_block(problem: Episodes, inputs, targets, *given) -> Block:
    """From what draw_many returns. ValueError: it is not what the problem's spaces say."""

    def by_time(space: Space, array) -> Tensor:
        elements = checked(space, as_elements(space, array, copy=False))
        if elements.shape[: elements.ndim - dimensions(space)] != (problem.longest, BLOCK):
            raise ValueError(
                f"{problem.name} draws {elements.shape} where {problem.longest} steps of {BLOCK} episodes are to be"
            )
        return torch.from_numpy(elements)

    reads, answers = by_time(problem.reads, inputs), by_time(problem.answers, targets)
    entries = problem.answers.entries(answers).view(problem.longest, BLOCK, -1).numpy()
    asked = entries.any(2)
    lengths = np.where(asked.any(0), problem.longest - asked[::-1].argmax(0), problem.longest)
    inside = torch.from_numpy(np.arange(problem.longest)[:, None] < lengths)
    ends = slice(int(lengths.min()), None)
    reads[ends][~inside[ends]] = problem.reads.zero(1)
    found = (checked(space, as_elements(space, part)) for space, part in zip(problem.given, given, strict=True))
    return Block(reads, answers, tuple(map(torch.from_numpy, found)), inside, lengths, entries.sum((0, 2)))


class EpisodeBatches(Batches):
    """B episodes at each step, every one new. A pass is the least whole number of batches that holds the problem's
    `episodes`."""

    def __init__(self, problem: Episodes, batch: int, rank: int, world: int):
        super().__init__(batch, rank, world)
        self.problem, self.longest = problem, problem.longest
        self.nothing = knowing_nothing(
            problem.answers, (problem.drawn("train", k).targets for k in range(PASS_EPISODES))
        )

    def __len__(self) -> int:
        return -(-self.problem.episodes // self.batch)

    @property
    def elements(self) -> int:
        return len(self) * self.batch * self.longest

    def at(self, step: int) -> Batch:
        numbers = range(step * self.batch, (step + 1) * self.batch)
        place = step % len(self) * self.batch  # in every pass the same places
        return self.problem.drawn_side_by_side("train", numbers, self.own, place)


def as_sequence(data: Data, inputs, targets, *given) -> Sequence:
    """From arrays, tensors or lists. ValueError: they are not what the data's spaces say."""
    inputs, targets = as_elements(data.reads, inputs), as_elements(data.answers, targets)
    sequence = inputs.ndim == dimensions(data.reads) + 1 and targets.ndim == dimensions(data.answers) + 1
    if not (sequence and len(inputs) == len(targets) > 0):
        raise ValueError(
            f"inputs {inputs.shape} and targets {targets.shape} are no sequences of one length, above 0, of "
            f"{data.reads!r} and {data.answers!r}"
        )
    return Sequence(inputs, targets, tuple(as_elements(*one) for one in zip(data.given, given, strict=True)))


def as_elements(space: Space, array, copy: bool = True) -> np.ndarray:
    """Symbols as int64, numbers as float64; a copy, or only where they are of another type. ValueError: symbols that
    are not whole, numbers whose last dimension is not the space's width."""
    array = array.numpy() if isinstance(array, Tensor) else np.asarray(array)
    if isinstance(space, Symbols):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{space!r}: symbols are whole numbers, not {array.dtype}")
        return array.astype(np.int64, copy=copy)
    if array.shape[-1:] != (space.width,):
        raise ValueError(f"{space!r}: {array.shape} does not end with the width {space.width}")
    return array.astype(np.float64, copy=copy)


def dimensions(space: Space) -> int:
    """Of one element: 0 of a symbol, 1 of numbers."""
    return 0 if isinstance(space, Symbols) else 1


def side_by_side(
    data: Data, sequences: list[Sequence], own: slice = slice(None), firsts: list[int] | None = None
) -> Batch:
    """Sequences of any lengths as one batch: zeros are read after a sequence's end, and not asked.

    own     the share that is kept: its T is that of all
    firsts  positions of the first elements; 0 where a sequence has ended
    Raises ValueError for a symbol that is none of its space.
    """
    every_inputs, every_targets, every_given = zip(*sequences)
    lengths = [len(inputs) for inputs in every_inputs]
    steps = max(lengths)
    inside_BT = np.arange(steps) < np.array(lengths)[:, None]

    def filled(space: Space, filling: Tensor, parts: tuple[np.ndarray, ...], which: slice) -> Tensor:
        filling.numpy().swapaxes(0, 1)[inside_BT[which]] = checked(space, np.concatenate(parts[which]))
        return filling

    targets = filled(data.answers, data.answers.blank(steps, len(sequences)), every_targets, slice(None))
    kept = len(sequences[own])
    positions = None
    if firsts is not None:
        positions = torch.from_numpy(
            np.where(inside_BT[own], np.array(firsts[own])[:, None] + np.arange(steps), 0).T.copy()
        )
    return Batch(
        filled(data.reads, data.reads.zero(steps, kept), every_inputs, own),
        targets[:, own].contiguous(),
        int(data.answers.entries(targets).sum()),
        given=tuple(_given(space, parts, own) for space, parts in zip(data.given, zip(*every_given))),
        positions=positions,
    )


def _given(space: Space, parts: tuple[np.ndarray, ...], own: slice) -> Tensor:
    """What sequences are given, [B, ...]: sequences among it, such as source sentences, are filled up with zeros."""
    if parts[0].ndim != dimensions(space) + 1:
        return torch.from_numpy(checked(space, np.stack(parts[own])))
    filled = space.zero(len(parts[own]), max(map(len, parts)))
    for row, part in zip(filled.numpy(), parts[own]):
        row[: len(part)] = checked(space, part)
    return filled


def checked(space: Space, elements: np.ndarray) -> np.ndarray:
    """As they are. ValueError: a symbol beyond 0..V."""
    if isinstance(space, Symbols) and elements.size and not 0 <= elements.min() <= elements.max() <= space.count:
        raise ValueError(f"{space!r}: symbols from {elements.min()} to {elements.max()}")
    return elements


def knowing_nothing(answers: Space, targets: Iterable[np.ndarray]) -> float:
    """The loss of an element for one who takes all symbols, or both bits, to be as likely, and answers numbers with 0,
    as networks do at first; 1 where all numbers are 0."""
    if isinstance(answers, (Symbols, Bits)):
        return float(np.log(answers.count if isinstance(answers, Symbols) else 2))
    every_1 = torch.from_numpy(np.concatenate(list(targets)))[None]
    asked = answers.entries(every_1).sum().clamp(min=1)
    return float(answers.loss(torch.zeros_like(every_1), every_1) / asked) or 1.0


@torch.no_grad()
def answered(data, network: Network, sequences: Iterable[Sequence], length: int) -> Iterator[str]:
    """Of each sequence what is given and read, what the model answers where it is asked, and what is right, one under
    the other: `length` steps at most, the last ones before the last that is asked.

    data  Episodes or Sequences
    """
    for sequence in sequences if length else ():
        asked = data.answers.asked(torch.from_numpy(sequence.targets)[:, None])[:, 0].tolist()
        answers = answers_to(data, network, sequence)
        guesses = data.spell(data.answers, answers.cpu().numpy())
        rows = {
            "read": data.spell(data.reads, sequence.inputs),
            "answer": [word if one else "·" for word, one in zip(guesses, asked)],
            "right": data.spell(data.answers, sequence.targets),
        }
        last = max((t for t, one in enumerate(asked) if one), default=len(asked) - 1)
        shown = slice(max(0, last + 1 - length), last + 1)
        for space, part in zip(data.given, sequence.given):
            words = data.spell(space, part if part.ndim > dimensions(space) else part[None])
            line = f"{'given':8}{' '.join(words)}"
            yield f"{line if len(line) <= LINE else line[: LINE - 1] + '…'}\n"
        yield "\n".join(_under_one_another({name: row[shown] for name, row in rows.items()})) + "\n\n"


@torch.no_grad()
def answers_to(data: Data, network: Network, sequence: Sequence) -> Tensor:
    """What the model answers at every step of a sequence, the likeliest: [T] or [T, O]."""
    batch = side_by_side(data, [sequence]).to(network.device, network.dtype)
    with evaluating(network):
        z, _ = network(batch.inputs, network.start(1, *batch.given))
    return guessed(data.answers, z[:, 0])


def _under_one_another(rows: dict[str, list[str]]) -> Iterator[str]:
    """Lines, each with the row's name, in which words at one step stand at one place. Of steps that take a line each
    the first is shown and those that are asked."""
    width, steps = max(map(len, sum(rows.values(), []))), len(rows["read"])
    fitting = max(1, (LINE - 8) // (width + 1))
    left_out = 0
    for first in range(0, steps, fitting):
        if fitting == 1 and first > 0 and rows["answer"][first] == "·":
            left_out += 1
            continue
        yield from _counted(left_out, width)
        left_out = 0
        for name, row in rows.items():
            yield f"{name:8}{' '.join(word.rjust(width) for word in row[first : first + fitting])}"
    yield from _counted(left_out, width)


def _counted(left_out: int, width: int) -> Iterator[str]:
    """A line for steps that are not shown, where there are any."""
    if left_out:
        yield f"{'':8}{f'… {left_out} more'.rjust(width)}"


def guessed(answers: Space, z: Tensor) -> Tensor:
    """The likeliest elements: predictions [T, O] -> [T] or [T, O]."""
    if isinstance(answers, Symbols):
        return z.argmax(-1)
    return (z > 0).double() if isinstance(answers, Bits) else z


def spelled(space: Space, elements: np.ndarray) -> list[str]:
    """Each element [T] or [T, D] as a short word: a symbol as its number, numbers to three digits, · for a blank."""
    if isinstance(space, Symbols):
        return ["·" if one == space.count else str(one) for one in elements.tolist()]
    each, between = ("{:.0f}", "") if isinstance(space, Bits) else ("{:.3g}", ",")

    def word(numbers: list[float]) -> str:
        if not numbers:
            return "-"
        if all(number != number for number in numbers):
            return "·"
        return between.join("·" if number != number else each.format(number) for number in numbers)

    return list(map(word, elements.tolist()))


def _plain(name: str, value):
    """For a fingerprint. Whole floats count as integers, as in a run's hash. TypeError: who knows what a value is."""
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{name}.{key}", part) for key, part in value.items()}
    if isinstance(value, (list, tuple, ListConfig)):
        return [_plain(name, part) for part in value]
    if isinstance(value, (Tensor, np.ndarray)):
        array = np.ascontiguousarray(value.numpy() if isinstance(value, Tensor) else value)
        return [str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
    if isinstance(value, Space):
        return repr(value)
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, (int, float, str, type(None))):
        raise TypeError(
            f"{name} is a {type(value).__name__}, which a fingerprint cannot tell from another: let its name begin "
            "with an underscore, or override Episodes.settings"
        )
    return int(value) if isinstance(value, float) and value.is_integer() else value
