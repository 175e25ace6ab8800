"""What every kind of data offers, so that all are read, judged and shown in one way."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Generator, Tensor

from pipeline.command.choice import make
from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import THROUGHOUT, Batch, Batches, Reading
from pipeline.datasets.space import Space
from pipeline.decoding.network import Network


class Criterion(NamedTuple):
    """When a paper calls its problem solved, for what is judged: right  the share of right answers, at least;  loss  is
    above the mean loss."""

    right: float
    loss: float = math.inf

    def met(self, loss: float, right: float) -> bool:
        return right >= self.right and loss < self.loss


class Data(ABC):
    """Sequences to learn from.

    reads       what a model reads at each step
    answers     what it answers at each step that is asked
    given       what it is given before the first step
    card        what is known of the data: corpus, split, counts {part: elements}, and the fingerprint, a checksum of
                all that a model can see
    foretells   whether an answer is the next element of what is read: language models, forecasts
    contiguous  whether each part is one sequence from its beginning to its end
    context     elements that are then read before what is asked of a held-out part
    forecasts   whether `forecast` foretells what comes
    criterion   of success, where the problem's paper states one
    prompts     beginnings that finished models are asked to complete, of text
    asked_with  what a finished model can be asked something new with: a "text", a "picture", a "series" or a "sequence"
    """

    reads: Space
    answers: Space
    given: tuple[Space, ...] = ()
    card: dict
    foretells = False
    contiguous = False
    context = 0
    forecasts = False
    criterion: Criterion | None = None
    prompts: tuple[str, ...] = ()
    asked_with = "sequence"

    def measured(self, loss: float, part: str) -> dict[str, float]:
        """What a mean loss over a part is worth in the units that people compare; the first one ranks models."""
        return self.answers.measured(loss)

    def open(self, local: str | None = None) -> "Data":
        """These data, ready to be read. A class that only says how they are made returns what it makes.

        local  a folder of this machine to keep a copy in, for data that lie on a disk
        """
        return self

    def without_parts(self) -> "Data":
        """A copy without their sequences: what a finished model needs of them to be asked something new."""
        return copy.copy(self)

    @property
    def judged_on(self) -> str:
        """The part that finished models are judged on: "test", or "validation" where there is no other."""
        return "test" if "test" in self.card["counts"] else "validation"

    @abstractmethod
    def shape(self, batch: int | None, length: int | None) -> tuple[int, int | None]:
        """What trainer.batch and trainer.length come to on these data: sequences side by side, and steps of a batch
        (None: whole sequences). None asks for what a pass over the data reads best."""

    @abstractmethod
    def training(self, batch: int, length: int | None, rank: int = 0, world: int = 1) -> Batches:
        """The training part, `batch` sequences side by side; this rank's share of them. Raises Refusal for a batch that
        these data cannot fill."""

    @abstractmethod
    def held_out(self, part: str, most: int | None = None, reading: Reading = THROUGHOUT) -> Iterator[Batch]:
        """ "validation" or "test", or its first `most` elements, each asked once; with one rank's eyes.

        reading  of what is contiguous; other sequences are read whole
        """

    def burn_in(self, reading: Reading) -> int:
        """Elements that are read before what is asked: as `reading` says, or `context`, at most a quarter of
        reading.restart."""
        if reading.burn_in is not None:
            return reading.burn_in
        return self.context if reading.restart is None else min(self.context, reading.restart // 4)

    def check_asked(self, part: str, most: int | None = None) -> None:
        """Raises Refusal where nothing is asked in a held-out part, or in its first `most` elements."""
        if not any(batch.count for batch in self.held_out(part, most)):
            raise self.nothing_asked(part, most)

    def nothing_asked(self, part: str, most: int | None = None) -> Refusal:
        """For a held-out part, or its first `most` elements, that asks nothing."""
        found = self.card["counts"][part]
        where = f"its {part} part" if most is None or most >= found else f"the first {most} elements of its {part} part"
        return Refusal(
            f"data={self.card['corpus']}: nothing is asked in {where}, so no model can be judged on it (what the "
            "training part lacks is not asked): take more data or another split"
        )

    def forecast(self, network: Network, steps: int) -> tuple[Tensor, Tensor]:
        """What was observed from the beginning of the part that models are judged on, and what is foretold of it by a
        network that reads its own forecasts: [S, D] each, as models read values, S = `steps` at most. Raises Refusal
        where data are not foretold so."""
        raise Refusal(f"{self.card['corpus']} is no series to be continued: take data=sine or another series")

    def check_prompt(self, prompt: str) -> str | None:
        """A warning if not all of the prompt is understood. Raises Refusal where `write` reads none."""
        if prompt:
            raise Refusal(f"prompt={prompt!r}: {self.card['corpus']} is written without a prompt: leave it out")
        return None

    def encode(self, text: str) -> list[int]:
        """The symbols of a text, as `write` reads a prompt: one or more. Raises Refusal where these data are no
        text."""
        raise Refusal(f"{text!r}: {self.card['corpus']} is not read as a text: take data=text or another corpus")

    @property
    def names(self) -> list[str]:
        """What each symbol of a text is called, no two of them the same."""
        raise Refusal(f"{self.card['corpus']} is not read as a text: take data=text or another corpus")

    @abstractmethod
    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """What the model writes, piece by piece, for people to look at: a text, answers to questions, a forecast.

        prompt       is read first and not repeated
        temperature  >= 0, where the model draws what it writes; 0: the likeliest
        length       elements, at most
        """


def load_data(choice: Mapping, local: str | None = None) -> Data:
    """The data that the group `data` of a configuration names. Raises Refusal where a corpus has not been prepared.

    local  a folder of this machine where a corpus is kept for its processes, if it is to be copied
    """
    return make(choice).open(local)
