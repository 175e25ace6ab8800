"""What a captioner writes of pictures, and what the nearest training picture's sentence would have been."""

import weakref

import numpy as np
import torch
from torch import Tensor

from pipeline.datasets.captions import Captions
from pipeline.decoding.beam import Sentence, beam_search
from pipeline.decoding.network import evaluating
from pipeline.models.captioner import Captioner

AT_ONCE = 50  # pictures
# Network -> data, the versions of its weights, and its features of the training pictures, which several probes need.
_TRAINING: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def writes_captions(network, data) -> bool:
    """Whether these are a captioner and pictures with sentences."""
    return isinstance(network, Captioner) and isinstance(data, Captions)


def chosen(data: Captions, pictures: int | None) -> np.ndarray:
    """The numbers of so many pictures of the part that models are judged on, evenly spread; None: of all."""
    numbers = data.pictures.part_of(data.judged_on)
    if pictures is None or pictures >= len(numbers):
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, pictures).round().astype(int)]


def given_to(network: Captioner, data: Captions, numbers: np.ndarray) -> tuple[Tensor, ...]:
    """What the network is given of pictures."""
    return tuple(
        part.to(network.device, network.dtype if part.is_floating_point() else None) for part in data.given_of(numbers)
    )


def written(
    network: Captioner, data: Captions, numbers: np.ndarray, width: int, length_penalty: float
) -> list[list[tuple[str, Sentence]]]:
    """Of each picture the sentences that a beam search finds, best first."""
    found = []
    for first in range(0, len(numbers), AT_ONCE):
        given = given_to(network, data, numbers[first : first + AT_ONCE])
        found += beam_search(network, data.end, data.end, width, data.longest, given, length_penalty)
    return [[(data.sentence(one.symbols), one) for one in some] for some in found]


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
    weights = [parameter._version for parameter in network.parameters()]
    kept, of, found = _TRAINING.get(network, (None, None, None))
    if kept is not data or of != weights:
        found = features(network, data, data.pictures.part_of("train"))
        _TRAINING[network] = data, weights, found
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
