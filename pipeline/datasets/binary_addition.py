"""Binary addition: two numbers, a column a step, the lowest bits first."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator

from pipeline.command.setting import Count, Seed
from pipeline.datasets.batch import Batch
from pipeline.datasets.episodes import SHOWN, BlockEpisodes, EpisodeBatches
from pipeline.datasets.space import Bits
from pipeline.decoding.network import Network, evaluating

MOST_COLUMNS = 100  # of a sum that `write` shows
DECIMAL = 40  # bits up to which it adds the numbers as people write them


class BinaryAddition(BlockEpisodes):
    """a + b, for a and b drawn uniformly from 0..2^n - 1: at step t = 0..n the bits a_t and b_t are read and bit t of
    the sum is asked; the last column is 0 and 0, and asks the last carry.

    bits        n >= 1
    curriculum  training steps over which numbers lengthen evenly from 1 bit to n; None: they have n bits at once
    Inputs [n + 1, 2], targets [n + 1, 1]. Source: Hinton 2012, week 7.
    """

    name = "binary_addition"
    reads, answers = Bits(2), Bits(1)

    def __init__(self, bits: Count, curriculum: Count | None, seed: Seed, episodes: Count, held: Count):
        super().__init__(seed, episodes, held)
        self.bits, self.curriculum, self.longest = bits, curriculum, bits + 1

    def draw_many(self, rng: np.random.Generator, count: int) -> tuple:
        columns = np.zeros((self.longest, count, 2), dtype=np.int64)
        columns[: self.bits] = rng.integers(2, size=(self.bits, count, 2))
        sums, carry = columns.sum(-1), np.zeros(count, dtype=np.int64)
        for column in sums:
            column += carry
            carry = column // 2
        return columns, sums[..., None] % 2

    def of_length(self, bits: int, held: int) -> "BinaryAddition":
        """Sums of numbers of so many bits, from the same seed."""
        return BinaryAddition(bits, None, self.seed, self.episodes, held)

    def training(self, batch: int, length: None = None, rank: int = 0, world: int = 1) -> EpisodeBatches:
        kind = EpisodeBatches if self.curriculum is None else LengtheningBatches
        return kind(self, batch, rank, world)

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """Sums of the test part as they are written down, the likeliest answer below each: its lowest `length` columns
        at most."""
        shown = min(length, self.longest, MOST_COLUMNS)
        for k in range(min(SHOWN, self.held) if shown else 0):
            sequence = self.drawn("test", k)
            inputs = torch.from_numpy(sequence.inputs)[:, None].to(network.device, network.dtype)
            with evaluating(network), torch.no_grad():
                z, _ = network(inputs, network.start(1))
            answer = (z[:, 0, 0] > 0).cpu().numpy()
            right = sequence.targets[:, 0]
            rows = {" ": sequence.inputs[:, 0], "+": sequence.inputs[:, 1], "=": right, "answer": answer}
            yield "\n".join(self._line(sign, row, shown) for sign, row in rows.items())
            wrong = int((answer != right).sum())
            yield f"  {'right' if not wrong else f'{wrong} of {self.longest} bits wrong'}\n\n"

    def _line(self, sign: str, bits_T: np.ndarray, shown: int) -> str:
        digits = "".join(str(int(bit)) for bit in bits_T[::-1])
        cut = "" if shown == self.longest else "…"
        decimal = f"  {int(digits, 2):{len(str(2**self.longest))}}" if not cut and self.bits <= DECIMAL else ""
        return f"{sign:7}{cut}{digits[-shown:]}{decimal}"


class LengtheningBatches(EpisodeBatches):
    """Sums of 1 + floor(s n / C) bits at training step s, at most n: n = problem.bits, C = problem.curriculum."""

    problem: BinaryAddition

    def __init__(self, problem: BinaryAddition, batch: int, rank: int, world: int):
        super().__init__(problem, batch, rank, world)
        self._shorter = {}  # bits -> sums of so many, those of the last step alone

    def at(self, step: int) -> Batch:
        bits = 1 + step * self.problem.bits // self.problem.curriculum
        if bits >= self.problem.bits:
            return super().at(step)
        if bits not in self._shorter:
            self._shorter = {bits: self.problem.of_length(bits, self.problem.held)}
        numbers = range(step * self.batch, (step + 1) * self.batch)
        place = step % len(self) * self.batch
        return self._shorter[bits].drawn_side_by_side("train", numbers, self.own, place)
