"""Small problems, one of each kind of data, for tests: easy to learn and quick to draw."""

import numpy as np

from pipeline.datasets.episodes import BlockEpisodes, Episodes
from pipeline.datasets.ragged import Sequences
from pipeline.datasets.space import Bits, Image, Reals, Symbols


class Adding(Episodes):
    """Reals(2) -> Reals(1): the sum of the two numbers that are marked, asked at the end; lengths differ."""

    name = "adding"
    reads = Reals(2)

    def __init__(self, longest: int, tolerance: float, seed: int, episodes: int, held: int):
        super().__init__(seed, episodes, held)
        self.longest, self.answers = longest, Reals(1, tolerance=tolerance)

    def draw(self, rng):
        steps = rng.integers(3, self.longest, endpoint=True)
        numbers, marks = rng.random(steps), np.zeros(steps)
        marks[rng.choice(steps, 2, replace=False)] = 1
        targets = self.answers.blank(steps)
        targets[-1] = numbers @ marks
        return np.stack([numbers, marks], axis=-1), targets


class Latch(Episodes):
    """Symbols(4) -> Symbols(2): the first symbol is the class that is asked at the last step."""

    name = "latch"
    reads, answers, longest = Symbols(4, "symbol"), Symbols(2, "class"), 6

    def draw(self, rng):
        steps = rng.integers(2, self.longest, endpoint=True)
        inputs, targets = rng.integers(2, 4, size=steps), np.full(steps, 2)
        inputs[0] = targets[-1] = rng.integers(2)
        return inputs, targets


class Sum(Episodes):
    """Bits(2) -> Bits(1): binary addition, the lowest bits first, asked at every step."""

    name = "sum"
    reads, answers, longest = Bits(2), Bits(1), 5

    def draw(self, rng):
        inputs, carry, targets = rng.integers(2, size=(self.longest, 2)), 0, []
        for one, other in inputs:
            targets.append([(one + other + carry) % 2])
            carry = (one + other + carry) // 2
        return inputs, targets


class Quadrant(Episodes):
    """Reals(2) -> Symbols(4): the quadrant of the sum of all points so far, asked at every second step."""

    name = "quadrant"
    reads, answers, longest = Reals(2), Symbols(4, "class"), 5

    def draw(self, rng):
        points = rng.normal(size=(self.longest, 2))
        x, y = (points.cumsum(0) > 0).T
        return points, np.where(np.arange(self.longest) % 2, 2 * x + y, 4)


class Shift(Episodes):
    """Symbols(4) -> Symbols(4), given Reals(4): each symbol, moved by the place of the largest of what is given."""

    name = "shift"
    reads = answers = Symbols(4, "digit")
    given, longest = (Reals(4),), 3

    def draw(self, rng):
        shift, symbols = rng.integers(4), rng.integers(4, size=self.longest)
        return symbols, (symbols + shift) % 4, 2.0 * np.eye(4)[shift]


class Untold(Shift):
    """As Shift, but given a symbol."""

    name = "untold"
    given = (Symbols(4),)

    def draw(self, rng):
        shift, symbols = rng.integers(4), rng.integers(4, size=self.longest)
        return symbols, (symbols + shift) % 4, shift


class Blobs(Episodes):
    """Image(1 x 5 x 4) -> Symbols(4): the column of the bright pixel of the first frame, asked at every frame; the
    others are dark."""

    name = "blobs"
    reads, answers, longest = Image(shape=(1, 5, 4)), Symbols(4, "column"), 3

    def draw(self, rng):
        row, column = rng.integers(5), rng.integers(4)
        frames = np.zeros((self.longest, 5, 4))
        frames[0, row, column] = 1
        return frames.reshape(self.longest, -1), np.full(self.longest, column)


class Counting(BlockEpisodes):
    """Reals(2) -> Symbols(9), given a symbol and numbers: how many of the first numbers so far are above what is given,
    asked wherever the second number is, and at the end; lengths differ."""

    name = "counting"
    reads, answers, longest = Reals(2), Symbols(9, "count"), 6
    given = (Symbols(4), Reals(1))

    def draw_many(self, rng, count):
        inputs, kind, level = rng.random((self.longest, count, 2)), rng.integers(4, size=count), rng.random((count, 1))
        so_far = (inputs[..., 0] > level[:, 0]).cumsum(0)
        last = rng.integers(1, self.longest, size=count, endpoint=True) - 1
        step = np.arange(self.longest)[:, None]
        asked = ((inputs[..., 1] > 0.6) & (step < last)) | (step == last)
        return inputs, np.where(asked, so_far, 9), kind, level


class Names(Sequences):
    """Symbols(5) -> the next one: abab.. of 2 to 11 symbols, started by either, then the end, 4."""

    def __init__(self, count: int, seed: int = 0):
        def name(k: int) -> list[int]:
            return [(k + i) % 2 + 2 * (k % 3 == 0) for i in range(2 + 7 * k % 10)] + [4]

        parts = {
            part: [(name(k)[:-1], name(k)[1:]) for k in range(first, first + some)]
            for part, first, some in (("train", 0, count), ("validation", count, 7), ("test", count + 7, 9))
        }
        super().__init__("names", Symbols(5, "letter"), Symbols(5, "letter"), parts, seed, foretells=True)


class Topics(Sequences):
    """Symbols(6) -> Symbols(3) asked at the last step, given Reals(3): the class of the text's words, or, where there
    is only one word, of what is given. No test part."""

    def __init__(self, count: int, seed: int = 0):
        rng = np.random.default_rng(5)

        def text() -> tuple:
            steps, topic = rng.integers(1, 8), rng.integers(3)
            words = 2 * topic + rng.integers(2, size=steps) if steps > 1 else rng.integers(6, size=1)
            return words, [3] * (steps - 1) + [topic], np.eye(3)[topic] * (steps == 1)

        parts = {"train": [text() for _ in range(count)], "validation": [text() for _ in range(20)]}
        super().__init__("topics", Symbols(6, "word"), Symbols(3, "topic"), parts, seed, given=(Reals(3),))
