"""Pictures that move behind a fence: what is it, at every frame?

Shapes: T frames, N episodes, S side of a frame, P side of an object.
"""

from collections.abc import Iterator

import numpy as np
from torch import Generator

from pipeline.command.refusal import Refusal
from pipeline.datasets.episodes import SHOWN, BlockEpisodes
from pipeline.datasets.pictured import Pool, checksum, pictured
from pipeline.datasets.space import Image, Symbols
from pipeline.decoding.network import Network

PERIOD = 6  # pixels from one bar of the fence to the next


class Moving(BlockEpisodes):
    """Frame t shows the object at p_t = p_0 + v t, v uniform in +-speed pixels a frame in each direction, reflected at
    the edges; upright bars stand before it and cover `hidden` of the columns, and noise e ~ N(0, noise^2) is added to
    each pixel of each frame. At every frame it is asked what the object is: more of it is seen as it goes by.

    pools     part -> pictures [., 2 P, 2 P], 0..255, and their classes; objects are these at half their size
    classes   what they are called;  element  what one is called
    frames    T;  side  S > P;  noise  standard deviation, of pixels from 0 to 1
    reads Image(S^2); answers Symbols(classes). Parts have objects of different pictures.
    """

    def __init__(
        self,
        name: str,
        pools: dict[str, Pool],
        element: str,
        classes: tuple[str, ...],
        frames: int,
        side: int,
        noise: float,
        hidden: float,
        speed: float,
        seed: int,
        episodes: int,
        held: int,
    ):
        super().__init__(seed, episodes, held)
        self.name, self.longest, self.noise, self.hidden, self.speed = name, frames, noise, hidden, speed
        self._object = pools["train"][0].shape[1] // 2
        if side <= self._object:
            raise Refusal(f"data.side={side}: objects are {self._object} pixels wide and are to move: take more")
        self._pools, self.pictures = pools, checksum(pools)
        self.reads, self.answers = Image(shape=(1, side, side)), Symbols(len(classes), element)
        self.classes = classes

    def without_parts(self) -> "Moving":
        copied = super().without_parts()
        copied._pools = {}
        return copied

    def draw_many(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        return self.draw_of("train", rng, count)

    def draw_of(self, part: str, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self._pools[part]
        chosen = rng.integers(len(labels), size=count)
        side, small, frames = self.reads.shape[1], self._object, self.longest
        objects_NPP = images[chosen].reshape(count, small, 2, small, 2).mean((2, 4), dtype=np.float32) / 255
        room = side - small
        start_2N = rng.uniform(0, room, size=(2, count))
        speed_2N = rng.uniform(-self.speed, self.speed, size=(2, count))
        straight = start_2N + speed_2N * np.arange(frames)[:, None, None]
        place = np.rint(room - np.abs(straight % (2 * room) - room)).astype(int)  # [T, 2, N]
        rows_TNP, columns_TNP = place[:, 0, :, None] + np.arange(small), place[:, 1, :, None] + np.arange(small)
        x = np.zeros((frames, count, side, side), np.float32)
        t, n = np.arange(frames)[:, None, None, None], np.arange(count)[:, None, None]
        x[t, n, rows_TNP[..., :, None], columns_TNP[..., None, :]] = objects_NPP
        bars_NS = (np.arange(side) + rng.integers(PERIOD, size=count)[:, None]) % PERIOD < self.hidden * PERIOD
        x *= ~bars_NS[:, None, :]
        x += np.float32(self.noise) * rng.standard_normal(x.shape, np.float32)
        return x.reshape(frames, count, -1), np.tile(labels[chosen].astype(np.int64), (frames, 1))

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """Test episodes, frames side by side, with the answers that the model gives, and those that are right."""
        for number in range(min(SHOWN, self.held) if length else 0):
            yield pictured(self, network, self.drawn("test", number), length)
