"""Learning while judging, against a loop with a copy of the member for each stream."""

import copy
import math

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.models.dynamic_evaluation import DynamicEvaluation
from tests.models.members import SPACES, V, in_windows, learn, lstm, ngram, symbols

SEGMENT = 4


def dynamic(network, rates=(0.5,), segment: int = SEGMENT) -> DynamicEvaluation:
    return DynamicEvaluation(*SPACES, "a", segment, list(rates), [network]).double()


def text(length: int = 27, streams: int = 2) -> torch.Tensor:
    return torch.stack([symbols(length, seed=stream, unknown=True) for stream in range(streams)], dim=1)


def by_loop(network, x, rate: float, segment: int) -> torch.Tensor:
    """Logits [T, B, V]: foretold segment by segment, and learned from when the symbol after it is known."""
    streams = []
    for stream in x.split(1, dim=1):
        learner, found = copy.deepcopy(network), []
        optimizer, state = torch.optim.SGD(learner.parameters(), lr=rate), learner.start(1)
        for first in range(0, len(stream), segment):
            inputs, targets = stream[first : first + segment], stream[first + 1 : first + segment + 1]
            state = tuple(part.detach() for part in state)
            z, after = learner(inputs, state)
            found.append(z.detach())
            if len(targets) == segment and (targets < V).any():
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(z.flatten(0, 1), targets.flatten(), ignore_index=V).backward()
                optimizer.step()
            state = after
        streams.append(torch.cat(found))
    return torch.cat(streams, dim=1)


def read(network, x, lengths) -> torch.Tensor:
    state, found = network.start(x.shape[1]), []
    with torch.no_grad():
        for piece in x.split(lengths):
            z, state = network(piece, state)
            found.append(z)
    return torch.cat(found)


@pytest.mark.parametrize("lengths", [[27], [1, 3, 10, 1, 12], [1] * 27], ids=str)
def test_predictions_are_those_of_a_loop_in_any_windows_and_the_member_stays_as_it_is(lengths):
    network, x = dynamic(lstm()), text()
    before = copy.deepcopy(network.state_dict())
    torch.testing.assert_close(read(network, x, lengths), by_loop(lstm(), x, 0.5, SEGMENT), rtol=1e-9, atol=1e-12)
    assert all(torch.equal(part, before[name]) for name, part in network.state_dict().items())
    assert not torch.allclose(read(network, x, lengths), read(lstm(), x, lengths))  # it does learn


def test_no_prediction_rests_on_what_comes_after_it():
    network, x = dynamic(lstm()), text(13, 1)
    whole = read(network, x, [13])
    for t in range(13):
        other = x.clone()
        other[t] = (other[t] + 1) % V
        assert torch.equal(read(network, other, [13])[:t], whole[:t])


def test_streams_learn_by_themselves_and_go_on_when_some_are_kept():
    network, x = dynamic(lstm()), text(20, 3)
    with torch.no_grad():
        _, state = network(x[:10], network.start(3))
        kept, _ = network(x[10:, [2, 0]], tuple(part[:, [2, 0]] for part in state))
    torch.testing.assert_close(kept, read(network, x, [10, 10])[10:, [2, 0]], rtol=1e-9, atol=1e-12)


def test_the_rate_with_the_least_loss_is_taken_and_one_that_is_far_too_great_is_survived():
    rates, x = [0.0, 0.2, 1e200, 1.0], text(60)
    network = dynamic(lstm(), rates)
    batches = in_windows(x, [30, 29])
    learn(network, batches, network.passes({"rates": rates}))

    def loss(rate: float) -> float:
        z = by_loop(lstm(), x[:-1], rate, SEGMENT)
        return torch.nn.functional.cross_entropy(z.flatten(0, 1), x[1:].flatten(), ignore_index=V).item()

    losses = [loss(rate) for rate in rates]
    best = int(np.nanargmin([value if math.isfinite(value) else math.inf for value in losses]))
    assert network.rate.item() == rates[best] and best != 2
    asked = int((x[1:] < V).sum())
    np.testing.assert_allclose(network.losses[[0, 1, 3]] / asked, np.array(losses)[[0, 1, 3]], rtol=1e-9)


def test_a_member_without_gradients_is_refused():
    with pytest.raises(Refusal, match="model.member=a: has no weights that learn by gradient: take"):
        dynamic(ngram())
