"""How well a model answers what it was not trained on."""

from collections.abc import Iterator
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
    network: SequenceModel, data: Data, part: str, most: int | None = None, burn_in: int | None = None
) -> HeldOut:
    """1/n sum of the losses of the n numbers that are asked in "validation" or "test", or in its first `most` elements.

    burn_in  as pipeline.datasets.batch.Reading; the state starts anew as it did in training (network.restart)

    Raises Refusal where nothing is asked.
    """
    answers = data.answers
    loss, right, steps = (torch.zeros((), dtype=torch.float64, device=network.device) for _ in range(3))
    judged, asked = True, 0
    for batch, z in predictions(network, data, part, most, burn_in):
        loss += answers.loss(z, batch.targets)
        found = answers.right(z, batch.targets)
        if found is None:
            judged = False
        else:
            right += found.sum()
            steps += answers.asked(batch.targets).sum()
        asked += batch.count
    if not asked:
        raise data.nothing_asked(part, most)
    return HeldOut(loss.item() / asked, (right / steps).item() if judged else None, asked)


@torch.no_grad()
def predictions(
    network: SequenceModel, data: Data, part: str, most: int | None = None, burn_in: int | None = None
) -> Iterator[tuple[Batch, Tensor]]:
    """The batches of a part, and what the network answers to them [T, B, O]; arguments as `held_out`."""
    state = None
    with evaluating(network):
        for batch in data.held_out(part, most, Reading(burn_in, network.restart)):
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
