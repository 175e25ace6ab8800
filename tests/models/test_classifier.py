import pytest
import torch
from hydra.utils import instantiate

from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Symbols
from pipeline.models.classifier import Classifier
from tests.conftest import composed

T, B = 7, 3


def network(pooling: str, cell: str = "lstm", **more) -> Classifier:
    torch.manual_seed(0)
    settings = {"layers": 2, "hidden": 4, "embedding": 3, "dropout": 0.0, "skip_connections": False}
    settings |= {"initial_state": 0.0, "learned_initial_state": False, "cell": instantiate(composed().model.cell)}
    return Classifier(Symbols(5, "word"), Symbols(3, "topic"), (), pooling=pooling, **settings | more).double()


POOLED = {"last": lambda h: h[-1], "mean": lambda h: h.mean(0), "max": lambda h: h.amax(0)}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("pooling", POOLED)
def test_the_answer_rests_on_all_that_was_read(pooling, skip):
    """Of each prefix, read by itself, the activities pooled and then read out; whole and in two pieces."""
    net, x = network(pooling, skip_connections=skip), torch.randint(5, (T, B))
    z, _ = net(x, net.start(B))
    for t in range(1, T + 1):
        layers, _ = net.activities(x[:t], net.start(B))
        h = POOLED[pooling](torch.cat(layers, -1) if skip else layers[-1])
        torch.testing.assert_close(z[t - 1], h @ net.readout.weight.t() + net.readout.bias)
    first, state = net(x[:3], net.start(B))
    last, layers, state = net.observe(x[3:], state)
    torch.testing.assert_close(torch.cat([first, last]), z)
    _, of_activities = net.activities(x, net.start(B))
    for ours, theirs in zip(state, of_activities, strict=True):
        torch.testing.assert_close(ours, theirs)
    step = net.stepper(net.start(1))
    torch.testing.assert_close(torch.stack([step(int(symbol)) for symbol in x[:, 0]]), z[:, 0])


@pytest.mark.parametrize("pooling", POOLED)
def test_what_follows_the_end_of_a_text_changes_nothing(pooling):
    net, x = network(pooling), torch.randint(5, (T, B))
    targets = torch.full((T, B), 3)
    targets[4] = 1
    losses = [
        net.loss(Batch(torch.cat([x[:5], after]), targets, B), net.start(B))[0] for after in (x[5:], x[5:] * 0 + 5)
    ]
    torch.testing.assert_close(*losses)
    z, _ = net(x, net.start(B))
    torch.testing.assert_close(losses[0], torch.nn.functional.cross_entropy(z[4], targets[4], reduction="sum"))
