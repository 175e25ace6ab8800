"""What captioners share: a sentence is written word by word, given the features of an image.

Shapes: T time, B batch, F features of the image, E embedding, H hidden, S what the readout sees, O predictions.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.cells.products import linear
from pipeline.command.setting import Count
from pipeline.datasets.batch import Batch
from pipeline.datasets.captions import Pixels
from pipeline.datasets.data import Data
from pipeline.datasets.space import Reals, Space, Symbols
from pipeline.models.model import SequenceModel
from pipeline.recurrence.dropout import Dropout
from pipeline.recurrence.stack import Stack

PICTURES = 1000  # over which the means and deviations of features are taken
RATE = 0.1  # at which those of an encoder that is learned follow those of batches
OPENING = 1000  # batches in which what a batch is corrected by grows by a deviation


class Captioner(SequenceModel):
    """p(w_t | w_1 .. w_{t-1}, v): x_1 is the mark between sentences, x_t = w_{t-1}, and the last word asked is the mark
    again. e_t = E x_t.

    given      Reals(F): the features of an image; or Pixels: what `encoder` makes of it, learned with the rest. v is
               these less their means, by their standard deviations, over training pictures (`look_at`), so that an
               image speaks as loudly as a word does at first. What is learned changes: it is by those of the pictures
               of each batch at first (Ioffe & Szegedy 2015), by running averages of these when it has learned, and
               between by those of the batch corrected toward the averages, more with each batch (Ioffe 2017, batch
               renormalization: in the nth batch by r from 1 / (1 + n / 1000) to 1 + n / 1000 and |d| <= n / 1000; the
               averages have this batch in them, not those before alone). Ranks share their pictures'
    embedding  E >= 1, numbers of a word's embedding; symbol V, "unknown", is read as zeros
    word_dropout  probability, in [0, 1), that a word is read as zeros while learning, the others times
                  1 / (1 - word_dropout): what follows must then be told from the image more than from the words before
                  (Bowman et al. 2016)
    A captioner states where v enters: `shown` and `run`. What of v each step needs is a part of the state. It has a
    `readout`.
    """

    roles = {"embedding": "embedding", "image": "input", "encoder": "state"}

    def __init__(
        self,
        reads: Space,
        answers: Space,
        given: tuple[Space, ...],
        embedding: Count,
        word_dropout: Annotated[float, Ge(0), Lt(1)],
    ):
        super().__init__(reads, answers, given)
        [space] = given
        learned = isinstance(space, Pixels)
        self.encoder = space.encoder() if learned else None
        self.features = space.features if learned else space.width
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("deviation", torch.ones(self.features))
        if learned:
            self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.embedding = nn.Embedding(reads.width, embedding)
        self.word_dropout = Dropout(word_dropout)

    @classmethod
    def fits(cls, data: Data) -> str | None:
        words = isinstance(data.reads, Symbols) and isinstance(data.answers, Symbols)
        if words and len(data.given) == 1 and isinstance(data.given[0], Reals):
            return None
        return "writes sentences about the image that it is given: take data=scenes, emoji or coco"

    def run(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        """Symbols [T, B] and the state before them -> what the readout sees [T, B, S], what each layer gives [T, B, H],
        and the state after."""
        raise NotImplementedError

    def shown(self, batch: int, v: Tensor) -> State:
        """The state before the first word, given v [B, F]."""
        raise NotImplementedError

    def start(self, batch: int, *given: Tensor) -> State:
        return self.shown(batch, self.image_of(*given))

    def start_of(self, batch: Batch) -> State:
        """What fills up a batch is no picture that units are of."""
        return self.shown(batch.inputs.shape[1], self.image_of(*batch.given, self.asked_of(batch)))

    def asked_of(self, batch: Batch) -> Tensor:
        """Of which pictures something is asked, [B]: of those that fill up the last batch of a pass nothing is."""
        return self.answers.asked(batch.targets).any(0)

    def image_of(self, given: Tensor, counted: Tensor | None = None) -> Tensor:
        """v of what is given, [B, F].

        counted  [B], pictures that the units of a batch are of; None: all. One alone, over all ranks, is in those of
                 the averages
        """
        features = given if self.encoder is None else self.encoder(given)
        if self.encoder is None or not self.training:
            return (features - self.mean) / self.deviation
        counted = (features.new_ones(len(features)) if counted is None else counted.to(features))[:, None]
        number = summed(counted.sum()).clamp(min=1)
        mean, deviation = standard_units(features, lambda some: OverRanks.apply((some * counted).sum(0)) / number)
        several = number > 1
        mean, deviation = torch.where(several, mean, self.mean), torch.where(several, deviation, self.deviation)
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean), RATE)
            self.deviation.lerp_(deviation.to(self.mean), RATE)
            self.batches += several
            limit = self.batches / OPENING
            scale = (deviation / self.deviation).clamp(1 / (1 + limit), 1 + limit)
            shift = ((mean - self.mean) / self.deviation).clamp(-limit, limit)
        return (features - mean) / deviation * scale + shift

    @torch.no_grad()
    def look_at(self, data: Data) -> None:
        """Sets the means and the standard deviations of features, those at first where the encoder is learned."""
        batch, parts, seen = min(PICTURES, data.shape(None, None)[0]), [], 0
        batches = data.training(batch, None)
        for step in range(len(batches)):
            one = batches.at(step)
            given = one.given[0][self.asked_of(one)].to(self.device)
            parts.append(given if self.encoder is None else self.encoder(given))
            seen += len(parts[-1])
            if seen >= PICTURES:
                break
        mean, deviation = standard_units(torch.cat(parts))
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *arguments) -> None:
        if self.encoder is not None:  # not counted before batches were corrected
            state_dict.setdefault(f"{prefix}batches", self.batches)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def read(self, x: Tensor) -> Tensor:
        """e_t, [T, B, E]."""
        e = linear(x, self.embedding.weight.t())
        return e * self.word_dropout(e.new_ones(*e.shape[:2], 1)) if self.training else e

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen, _, state = self.run(x, state)
        return self.readout(seen), state

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, State]:
        seen, _, state = self.run(batch.inputs, state)
        return self.readout.loss(seen, batch.targets), state

    def activities(self, x: Tensor, state: State) -> tuple[list[Tensor], State]:
        _, outputs, state = self.run(x, state)
        return outputs, state

    def observe(self, x: Tensor, state: State) -> tuple[Tensor, list[Tensor], State]:
        seen, outputs, state = self.run(x, state)
        return self.readout(seen), outputs, state

    @property
    def stacks(self) -> list[Stack]:
        return [module for module in self.modules() if isinstance(module, Stack)]

    def run_on(self, device: str, engine: str = "auto", operations: float = 0.0, seconds: float | None = None) -> str:
        for stack in self.stacks:
            stack.run_on(device, engine, operations, seconds)
        return f"{self.stacks[0].engine} recurrence (trainer.engine)"

    def finish_initialization(self) -> None:
        """The initial states, and what the cells' papers set, such as a forget bias."""
        for stack in self.stacks:
            stack.finish_initialization()


def standard_units(
    features: Tensor, mean_of: Callable[[Tensor], Tensor] = lambda some: some.mean(0)
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations over pictures, [B, F] -> [F] each: that of a feature which hardly differs between
    them is a tenth of the mean one; 1 where none differs.

    mean_of  the mean over pictures, [B, F] -> [F]
    """
    mean = mean_of(features)
    variance = mean_of((features - mean).square())
    least = 0.1 * variance.detach().sqrt().mean()
    return mean, variance.clamp(min=torch.where(least > 0, least, 1.0).square()).sqrt()


class OverRanks(torch.autograd.Function):
    """The sum over ranks, with its gradient: of the sum of their losses."""

    @staticmethod
    def forward(context, own: Tensor) -> Tensor:
        return summed(own)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return summed(gradient)


def summed(own: Tensor) -> Tensor:
    total = own.clone()
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return total


def beside(e: Tensor, image: Tensor) -> Tensor:
    """[e_t; v] at every step: [T, B, E], [1, B, F] -> [T, B, E + F]."""
    return torch.cat([e, image.expand(len(e), -1, -1)], dim=-1)
