import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.datasets.problems import Copying
from pipeline.probes.memory import carried_bits


class Predictor(nn.Module):
    """A model that gives the next symbol of an episode the probability predictor(episode so far, symbol)."""

    def __init__(self, vocabulary, predictor):
        super().__init__()
        self.vocabulary, self.predictor = vocabulary, predictor

    def start(self, batch):
        return (torch.zeros(batch, 1),)

    def forward(self, x, state):
        symbols = [self.vocabulary.decode(np.array([index])) for index in range(len(self.vocabulary))]
        p = torch.zeros(*x.shape, len(symbols), dtype=torch.float64)
        for t, b in itertools.product(*map(range, x.shape)):
            seen = self.vocabulary.decode(x[: t + 1, b].numpy()).rpartition("\n")[2]
            p[t, b] = torch.tensor([self.predictor(seen, symbol) for symbol in symbols])
        return torch.log(p), state


def copying(**changes):
    """A problem and its data, whose test part is one episode to begin with and then every message once."""
    problem = Copying(
        **{"message": 3, "delay": 2, "alphabet": 2, "episodes": 100, "seed": 0, "split": "80-10-10"} | changes
    )
    data = problem.generate()
    digits = "0123456789"[: problem.alphabet]
    messages = ["".join(message) for message in itertools.product(digits, repeat=problem.message)]
    text = "".join(f"{message}{'.' * problem.delay}?{message}\n" for message in [messages[0], *messages])
    test = data.vocabulary.encode(text)
    recall = np.tile(data.recall["test"][: data.episode], len(messages) + 1)
    return messages, dataclasses.replace(data, test=test, recall={**data.recall, "test": recall})


@pytest.mark.parametrize("alphabet", [2, 3])
@pytest.mark.parametrize("remembered", [0, 1, 3])
def test_bits_carried_are_those_that_a_predictor_remembers(alphabet, remembered):
    """One that remembers the first j of k symbols, which takes A^j states, carries j log2 A bits."""
    _, data = copying(alphabet=alphabet)

    def predictor(seen, symbol):
        message, mark, recalled = seen.partition("?")
        if not mark:
            return 1e-3  # what is not to be recalled does not count
        return float(message[len(recalled)] == symbol) if len(recalled) < remembered else symbol.isdigit() / alphabet

    assert carried_bits(Predictor(data.vocabulary, predictor), data) == pytest.approx(remembered * math.log2(alphabet))


def test_no_code_of_n_states_carries_more_than_log2_n_bits():
    """Codes of 3-bit messages into N states, the best distribution of messages read from each state."""
    messages, data = copying()
    draw = np.random.default_rng(0)
    for states in (1, 2, 3, 5, 8):
        codes = [draw.integers(states, size=len(messages)), np.arange(len(messages)) * states // len(messages)]
        for code in codes:
            state = dict(zip(messages, code, strict=True))

            def predictor(seen, symbol, state=state):
                message, mark, recalled = seen.partition("?")
                if not mark or len(recalled) == 3:
                    return 1e-3
                alike = [one for one in messages if state[one] == state[message[:3]] and one.startswith(recalled)]
                return sum(one.startswith(recalled + symbol) for one in alike) / len(alike)

            carried = carried_bits(Predictor(data.vocabulary, predictor), data)
            sizes = np.bincount(code, minlength=states)
            assert carried == pytest.approx(np.mean([math.log2(8 / sizes[one]) for one in code]))
            assert carried <= math.log2(states) + 1e-12
        if states in (1, 2, 8):
            assert carried == pytest.approx(math.log2(states))
