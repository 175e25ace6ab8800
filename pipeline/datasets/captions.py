"""Sentences of pictures: the next word is guessed, of one who was given the picture's features.

Shapes: T words, B sentences, n pictures, F features, S pixels a side.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor, nn

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count, Seed
from pipeline.corpora.authors import author
from pipeline.corpora.image import BadPicture, decode
from pipeline.corpora.parts import make_card
from pipeline.corpora.pictures import Pictures
from pipeline.datasets.episodes import Sequence
from pipeline.datasets.ragged import Bucketed, Ragged
from pipeline.datasets.space import Pixels, Reals, Symbols
from pipeline.decoding.beam import Sentence, beam_search
from pipeline.decoding.network import Network
from pipeline.decoding.sampling import draw_symbols
from pipeline.encoders.encoder import Encoder
from pipeline.encoders.features import encode, features

PIXELS = 2**24  # numbers of a batch of pictures that the model encodes itself
SHOWN = 4  # pictures whose sentences are written where no picture is asked for
BEST = 5  # sentences of a picture that are written with their scores


class Captions(Ragged):
    """END w_1 .. w_n -> w_1 .. w_n END, with the features of the picture given before: a sentence is a sequence.

    pictures  as they were prepared;  vocabulary  V words, the last one END = V - 1
    encoder   what makes features of pictures;  root  where they are kept once they are made
    longest   words of a sentence that are kept: a longer one is read and asked up to there, and no end is asked of it
    seed      of the order in which a pass reads the sentences
    reads, answers  Symbols(V);  given  Reals(F), or Pixels where the encoder is learned too
    Raises Refusal for a part without a sentence.
    """

    foretells = True
    asked_with = "picture"

    def __init__(self, pictures: Pictures, encoder: Encoder, root: Path, longest: Count, seed: Seed):
        self.pictures, self.encoder, self.root = pictures, encoder, root
        self.longest, self.seed = longest, seed
        self.name, self.vocabulary = pictures.card["corpus"], pictures.vocabulary
        self.end = len(self.vocabulary) - 1
        self.reads = self.answers = Symbols(len(self.vocabulary), "word")
        read = Pixels(3 * encoder.size**2, chosen=encoder) if encoder.fine_tune else Reals(encoder.width)
        self.given = (read,)
        self.parts = {part: Sentences(self, part) for part in pictures.card["counts"]}
        if encoder.fine_tune:
            self.at_once = max(1, min(self.at_once, PIXELS // self.given[0].width))
        decides = [pictures.card["fingerprint"], encoder.key, encoder.fine_tune, longest, seed]
        self.card = make_card(
            self.name,
            pictures.card["split"],
            {part: int(some.lengths.sum()) for part, some in self.parts.items()},
            hashlib.sha256(json.dumps(decides).encode()).hexdigest(),
            pictures=pictures.card["counts"],
            sentences={part: len(some) for part, some in self.parts.items()},
            cut={part: int(some.cut.sum()) for part, some in self.parts.items()},
            encoder=encoder.label,
            synthetic=pictures.card.get("synthetic", False),
        )

    def without_parts(self) -> "Captions":
        copied = super().without_parts()
        copied.pictures = None
        for made in ("features", "_network"):
            vars(copied).pop(made, None)
        return copied

    @cached_property
    def features(self) -> np.ndarray:
        """Of all pictures, [n, F], memory-mapped; made where they are missing. Of an encoder that is learned too, its
        pictures, [n, 3 S S]."""
        return features(self.pictures, self.encoder, self.root)

    def make_features(self) -> None:
        """Makes those that are missing."""
        _ = self.features

    def given_of(self, numbers) -> tuple[Tensor]:
        """What a network is given of pictures, by their numbers: [n, F]."""
        return (torch.from_numpy(np.array(self.features[np.asarray(numbers)])),)

    def shown(self, picture: Image.Image) -> tuple[Tensor]:
        """The same of any RGB picture, [1, F]."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.encoder.preprocess(picture)))[None]
        return (pixels.flatten(1) if self.encoder.fine_tune else torch.from_numpy(encode(self._network, pixels)),)

    @cached_property
    def _network(self) -> nn.Module:
        return self.encoder.network()

    def sentence(self, symbols) -> str:
        """The words of symbols, up to the first END."""
        symbols = np.asarray(symbols, dtype=np.int64)
        ends = np.flatnonzero(symbols == self.end)
        return self.vocabulary.decode(symbols[: ends[0]] if len(ends) else symbols)

    def training(self, batch: int, length: None = None, rank: int = 0, world: int = 1) -> Bucketed:
        self.make_features()  # before the time of training runs
        return super().training(batch, length, rank, world)

    def check_asked(self, part: str, most: int | None = None) -> None:
        """Something is: every sentence has a word or an end."""

    def check_prompt(self, prompt: str) -> str | None:
        if prompt:
            open_picture(prompt)
        return None

    def write(
        self, network: Network, prompt: str, temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        """A sentence of a picture, drawn, and below it the best that a beam search finds with their log-probabilities,
        in nats. Without a prompt, of the first pictures of the part that models are judged on, with the sentences that
        people, or a program, wrote.

        prompt  a file with a picture
        length  words at most
        """
        if prompt:
            yield "\n"
            yield from self._written(network, self.shown(open_picture(prompt)), temperature, length, generator)
            return
        label = author(self.card["synthetic"])
        for number in self.pictures.part_of(self.judged_on)[:SHOWN].tolist():
            yield f"{self.pictures.names[number]}\n"
            yield from self._written(network, self.given_of([number]), temperature, length, generator)
            yield from (f"{label:>10}  {sentence}\n" for sentence in self.pictures.sentences(number))
            yield "\n"

    def _written(
        self, network: Network, given: tuple[Tensor], temperature: float, length: int, generator: Generator
    ) -> Iterator[str]:
        given = _on(network, given)
        longest, symbols = min(length, self.longest), []
        for symbol in draw_symbols(network, [self.end], temperature, longest, generator, given):
            if symbol == self.end:
                break
            symbols.append(symbol)
        yield f"{'drawn':>10}  {self.sentence(symbols)}\n"
        if longest:
            found = self.found(network, given, longest)
            yield from (f"{one.score:10.2f}  {self.sentence(one.symbols)}\n" for one in found)

    def found(self, network: Network, given: tuple[Tensor], longest: int) -> list[Sentence]:
        """The best sentences of a picture that a beam search finds, of `longest` words at most, best first.

        given  what a network is given of it, [1, F]
        """
        [found] = beam_search(network, self.end, self.end, BEST, longest, _on(network, given))
        return found


def _on(network: Network, given: tuple[Tensor]) -> tuple[Tensor]:
    """What a network is given, where it is and as it computes."""
    return tuple(part.to(network.device, network.dtype if part.is_floating_point() else None) for part in given)


def open_picture(prompt: str) -> Image.Image:
    """The RGB picture of a file. Raises Refusal where it is none."""
    try:
        return decode(Path(prompt))[0]
    except BadPicture as error:
        raise Refusal(f"prompt={prompt}: {error}: take the file of a picture") from None


class Sentences:
    """The sentences of a part as sequences, by their numbers within it. Each is made when it is asked for, and takes
    its picture's features from where they lie for all sentences.

    lengths  [N], steps of each;  cut  [N], whether it is longer than what is kept
    """

    def __init__(self, data: Captions, part: str):
        pictures = data.pictures
        of_part = np.isin(pictures.picture_of_sentence, pictures.part_of(part))
        self.data, self.numbers = data, np.flatnonzero(of_part)
        if not len(self.numbers):
            raise Refusal(f"data={data.name}: the {part} part has no sentence: take more data or another split")
        self.ends = np.asarray(pictures.sentence_ends, dtype=np.int64)
        self.starts = np.concatenate([[0], self.ends[:-1]])
        words = (self.ends - self.starts)[self.numbers]
        self.cut = words > data.longest
        self.lengths = np.where(self.cut, data.longest, words + 1)
        self.given_lengths = np.full(len(words), data.given[0].width)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, k: int) -> Sequence:
        data, number = self.data, self.numbers[k]
        words = data.pictures.words[self.starts[number] : self.ends[number]][: self.lengths[k]]
        between = np.concatenate([[data.end], words, [data.end]]).astype(np.int64)
        picture = data.pictures.picture_of_sentence[number]
        steps = self.lengths[k]
        return Sequence(between[:steps], between[1 : steps + 1], (data.features[picture],))
