"""How well a model answers what it was not trained on."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.datasets.batch import Batch, Reading
from pipeline.datasets.data import Data
from pipeline.decoding.network import evaluating
from pipeline.models.model import SequenceModel


class HeldOut(NamedTuple):
    """loss   mean over all numbers that are asked, in data.answers.units.loss
    right  share of the steps at which anything is asked that are answered right, 0..1; None where nothing says what is
           right
    asked  numbers that are asked, > 0
    """

    loss: float
    right: float | None
    asked: int


@torch.no_grad()
def held_out(
    network: SequenceModel,
    data: Data,
    part: str,
    most: int | None = None,
    burn_in: int | None = None,
    own: tuple[int, int] = (0, 1),
    total: Callable[[Tensor], Tensor] | None = None,
) -> HeldOut:
    """1/n sum of the losses of the n numbers that are asked in "validation" or "test", or in its first `most` elements.

    burn_in  as pipeline.datasets.batch.Reading; the state starts anew as it did in training (network.restart)
    own      rank and how many ranks there are, which share out the sequences of each batch;  total  what sums a tensor
             over them

    Raises Refusal where nothing is asked.
    """
    answers, found = data.answers, torch.zeros(4, dtype=torch.float64, device=network.device)
    for batch, z in predictions(network, data, part, most, burn_in, own):
        found[0] += answers.loss(z, batch.targets)
        found[1] += answers.entries(batch.targets).sum()
        right = answers.right(z, batch.targets)
        if right is not None:
            found[2] += right.sum()
            found[3] += answers.asked(batch.targets).sum()
    loss, asked, right, steps = (found if total is None else total(found)).tolist()
    if not asked:
        raise data.nothing_asked(part, most)
    return HeldOut(loss / asked, right / steps if steps else None, int(asked))


@torch.no_grad()
def predictions(
    network: SequenceModel,
    data: Data,
    part: str,
    most: int | None = None,
    burn_in: int | None = None,
    own: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Batch, Tensor]]:
    """The batches of a part, of each this rank's share, if any, and what the network answers to them [T, B, O];
    arguments as `held_out`."""
    state, (rank, world) = None, own
    with evaluating(network):
        for batch in data.held_out(part, most, Reading(burn_in, network.restart)):
            if world > 1:
                count = batch.inputs.shape[1]
                batch = batch.sequences(slice(rank * count // world, (rank + 1) * count // world))
                if not batch.inputs.shape[1]:
                    continue
            batch = batch.to(network.device, network.dtype)
            if not batch.carried:
                state = network.start(batch.inputs.shape[1], *batch.given)
            z, state = network(batch.inputs, state)
            yield batch, z


@torch.no_grad()
def observations(
    network: SequenceModel, data: Data, part: str, most: int | None = None
) -> Iterator[tuple[Batch, Tensor]]:
    """The batches of a part, and the hidden units of all layers side by side after each element, [T, B, L H]."""
    state = None
    with evaluating(network):
        for batch in data.held_out(part, most, Reading(restart=network.restart)):
            batch = batch.to(network.device, network.dtype)
            if not batch.carried:
                state = network.start(batch.inputs.shape[1], *batch.given)
            layers, state = network.activities(batch.inputs, state)
            yield batch, torch.cat(list(layers), dim=-1)
