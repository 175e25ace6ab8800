"""How much a model remembers."""

import math

import numpy as np
import torch

from pipeline.datasets.problems import Recalled
from pipeline.models.model import SequenceModel

EPISODES = 64  # read side by side


@torch.no_grad()
def carried_bits(network: SequenceModel, data: Recalled) -> float:
    """E[log2 p(message, when it is to be recalled) / p(message, for one who forgot it)]: bits of an episode's message
    that reach its recall, in the mean over the test part's episodes. At most log2 N for N states.

    Every episode is read from its own start, after the one before it.
    """
    training = network.training
    network.eval()
    length = data.episode
    episodes_TB = np.asarray(data.test).astype(np.int64).reshape(-1, length).T
    recalled = torch.from_numpy(data.recall["test"][:length])
    bits, device = 0.0, network.start(1)[0].device
    for first in range(1, episodes_TB.shape[1], EPISODES):
        read = torch.from_numpy(episodes_TB[:, first - 1 : first + EPISODES]).to(device)
        # The episode before and this one, whose last symbol is a target alone.
        x = torch.cat([read[:, :-1], read[:-1, 1:]])
        logits, _ = network(x, network.start(x.shape[1]))
        log_p = torch.log_softmax(logits[length - 1 :].double(), -1).gather(-1, read[:, 1:, None])[..., 0]
        bits += (data.bits - (-log_p[recalled].sum(0) / math.log(2))).sum().item()
    network.train(training)
    return bits / (episodes_TB.shape[1] - 1)
