"""What a captioner writes of pictures, and what the nearest training picture's sentence would have been."""

import weakref
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline.datasets.captions import Captions
from pipeline.decoding.beam import Sentence, beam_search
from pipeline.decoding.network import evaluating
from pipeline.models.captioner import Captioner

AT_ONCE = 50  # pictures


@dataclass
class _Found:
    """What was found of a network with these versions of its weights on these data, which several probes need."""

    data: Captions
    weights: list[int]
    training: Tensor | None = None  # `features` of all training pictures
    written: dict[tuple, list[Sentence]] = field(default_factory=dict)  # (picture, width, length_penalty) -> a beam's


_FOUND: weakref.WeakKeyDictionary[Captioner, _Found] = weakref.WeakKeyDictionary()


def writes_captions(network, data) -> bool:
    """Whether these are a captioner and pictures with sentences."""
    return isinstance(network, Captioner) and isinstance(data, Captions)


def chosen(data: Captions, pictures: int | None) -> np.ndarray:
    """The numbers of so many pictures of the part that models are judged on, evenly spread; None: of all."""
    numbers = data.pictures.part_of(data.judged_on)
    if pictures is None or pictures >= len(numbers):
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, pictures).round().astype(int)]


def given_to(network: Captioner, data: Captions, numbers: np.ndarray | list[int]) -> tuple[Tensor, ...]:
    """What the network is given of pictures."""
    return tuple(
        part.to(network.device, network.dtype if part.is_floating_point() else None) for part in data.given_of(numbers)
    )


def written(
    network: Captioner, data: Captions, numbers: np.ndarray, width: int, length_penalty: float
) -> list[list[tuple[str, Sentence]]]:
    """Of each picture the sentences that a beam search finds, best first. It is made once as long as network and data
    stay as they are."""
    found, kind = _found(network, data).written, (width, length_penalty)
    missing = [number for number in numbers.tolist() if (number, *kind) not in found]
    for first in range(0, len(missing), AT_ONCE):
        some = missing[first : first + AT_ONCE]
        beams = beam_search(
            network, data.end, data.end, width, data.longest, given_to(network, data, some), length_penalty
        )
        found |= {(number, *kind): beam for number, beam in zip(some, beams, strict=True)}
    return [[(data.sentence(one.symbols), one) for one in found[number, *kind]] for number in numbers.tolist()]


@torch.no_grad()
def features(network: Captioner, data: Captions, numbers: np.ndarray) -> Tensor:
    """What the network sees of pictures, each of length 1, [n, F] float32."""
    parts = []
    with evaluating(network):
        for first in range(0, len(numbers), AT_ONCE):
            seen = network.image_of(*given_to(network, data, numbers[first : first + AT_ONCE])).float()
            parts.append(torch.nn.functional.normalize(seen, dim=1).cpu())
    return torch.cat(parts)


def nearest(network: Captioner, data: Captions, numbers: np.ndarray) -> np.ndarray:
    """Of each picture the number of the training picture whose features have the greatest cosine with its own."""
    train, every = data.pictures.part_of("train"), _features_of_training(network, data)
    best = [(some @ every.T).argmax(1) for some in features(network, data, numbers).split(AT_ONCE)]
    return train[torch.cat(best).numpy()]


def _features_of_training(network: Captioner, data: Captions) -> Tensor:
    """`features` of all training pictures, found once as long as network and data stay as they are."""
    found = _found(network, data)
    if found.training is None:
        found.training = features(network, data, data.pictures.part_of("train"))
    return found.training


def _found(network: Captioner, data: Captions) -> _Found:
    """What is kept of them; nothing where one of them is another than before."""
    weights = [tensor._version for tensor in (*network.parameters(), *network.buffers())]
    found = _FOUND.get(network)
    if found is None or found.data is not data or found.weights != weights:
        found = _FOUND[network] = _Found(data, weights)
    return found


@torch.no_grad()
def log_likelihoods(network: Captioner, data: Captions, pictures: np.ndarray, sentences: list[int]) -> np.ndarray:
    """log p(sentence | picture) in nats, its end with it, of each pair: [pictures, sentences] float64; sentences by
    their numbers, words that the vocabulary lacks left out of the sum."""
    found = np.empty((len(pictures), len(sentences)))
    with evaluating(network):
        start = network.start(len(pictures), *given_to(network, data, pictures))
        for column, number in enumerate(sentences):
            words = torch.from_numpy(data.pictures.sentence_words(number)[: data.longest].astype(np.int64))
            end = torch.tensor([data.end])
            read = torch.cat([end, words])[:, None].expand(-1, len(pictures)).to(network.device)
            asked = torch.cat([words, end])
            z, _ = network(read, start)
            log_p = torch.log_softmax(z.double(), dim=-1).cpu()
            found[:, column] = log_p[torch.arange(len(asked)), :, asked].sum(0).numpy()
    return found
