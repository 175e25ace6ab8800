"""How well a model predicts what it was not trained on."""

import numpy as np
import torch

from pipeline.datasets.data import Data
from pipeline.datasets.series import Series
from pipeline.datasets.space import Symbols
from pipeline.datasets.streams import Streams
from pipeline.learning.losses import total_loss
from pipeline.models.model import SequenceModel

STREAMS, BURN_IN, LENGTH = 32, 500, 250
BEFORE = 1000  # elements of a series that are read before those that are scored


def held_out_loss(network: SequenceModel, data: Data, part: str, most: int | None = None) -> tuple[float, int]:
    """The loss on "validation" or "test", on its first `most` elements:
    (nats per symbol or squared error per value, targets scored)."""
    if isinstance(data.space, Symbols):
        return mean_loss(network, getattr(data, part)[:most], data.space.count)
    return mean_squared_error(network, data, part, most)


@torch.no_grad()
def mean_loss(network: SequenceModel, symbols: np.ndarray, vocabulary: int) -> tuple[float, int]:
    """-1/n sum_t log p(x_{t+1} | x_{<=t}) over the whole of `symbols` with carried state; (nats per symbol, n).

    Every symbol but the first is a target once; unknown ones (index V) are not scored, n counts the scored. For speed
    the text is read in up to STREAMS parts side by side; each but the first starts with the state left by the BURN_IN
    symbols before it, which stands in for the state left by all of them.
    """
    training = network.training
    network.eval()
    device = network.start(1)[0].device
    parts = max(1, min(STREAMS, (len(symbols) - 1) // (4 * BURN_IN)))
    streams = Streams(symbols, vocabulary, parts, min(LENGTH, (len(symbols) - 1) // parts))
    state = network.start(parts)
    if parts > 1:
        before_TB = streams.starts[1:] + np.arange(-BURN_IN, 0)[:, None]
        _, warm = network(torch.from_numpy(symbols[before_TB].astype(np.int64)).to(device), network.start(parts - 1))
        state = tuple(torch.cat([cold[:, :1], part], dim=1) for cold, part in zip(state, warm, strict=True))
    nats, scored = 0.0, 0
    for step in range(len(streams)):
        window = streams.window(step)
        targets = window.targets.to(device)
        logits, state = network(window.inputs.to(device), state)
        nats += total_loss(logits, targets).item()
        scored += int((targets != vocabulary).sum())
    network.train(training)
    return nats / scored, scored


@torch.no_grad()
def mean_squared_error(network: SequenceModel, series: Series, part: str, most: int | None = None) -> tuple[float, int]:
    """1/n sum_t (y_{t+1} - mean of it given y_{<=t}, u_{<=t+1})^2 over the first `most` elements of a part,
    as models read them; (error, n).

    The part's first element is a target too: up to BEFORE elements before it are read first.
    What was not observed is not scored.
    """
    training = network.training
    network.eval()
    values, inputs = (torch.from_numpy(whole) for whole in series.whole())
    start, stop = series.borders[part].start, series.borders[part].stop
    stop = stop if most is None else min(stop, start + most)
    first = max(0, start - BEFORE)
    state = network.start(1)
    values, inputs = values.to(state[0].device, network.dtype), inputs.to(state[0].device, network.dtype)
    x = torch.cat([values[first : stop - 1], inputs[first + 1 : stop]], dim=-1)[:, None]
    predicted, _ = network(x, state)
    targets = values[start:stop, None]
    network.train(training)
    error, scored = total_loss(predicted[start - 1 - first :], targets).item(), int((~targets.isnan()).sum())
    return error / scored, scored
