"""How well a model predicts a text."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.datasets.streams import Streams

STREAMS, BURN_IN, LENGTH = 32, 500, 250


@torch.no_grad()
def mean_loss(network: nn.Module, symbols: np.ndarray, vocabulary: int) -> tuple[float, int]:
    """-1/n sum_t log p(x_{t+1} | x_{<=t}) over the whole of `symbols` with carried state; (nats per symbol, n).

    Every symbol but the first is a target once; unknown ones (index V) are not scored, n counts the scored. For speed the
    text is read in up to STREAMS parts side by side; each but the first starts with the state left by the BURN_IN symbols
    before it, which stands in for the state left by all of them.
    """
    training = network.training
    network.eval()
    device = next(network.parameters()).device
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
        targets = window.targets.to(device).flatten()
        logits, state = network(window.inputs.to(device), state)
        nats += F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=vocabulary, reduction="sum").item()
        scored += int((targets != vocabulary).sum())
    network.train(training)
    return nats / scored, scored
