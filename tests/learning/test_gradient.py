"""One training step against plain PyTorch."""

from functools import partial

import pytest
import pytorch_lightning as lightning
import torch

from pipeline.cells.lstm import LSTM
from pipeline.datasets.space import Symbols
from pipeline.datasets.streams import Streams
from pipeline.learning.gradient import GradientLearning
from pipeline.learning.schedules import constant, epoch_decay
from pipeline.models.recurrent import RecurrentNetwork

V, B, T = 6, 4, 5


def learning(loss="mean", clip_value=None, clip_norm=None, schedule=constant, rate=0.5):
    torch.manual_seed(1)
    text = torch.randint(0, V, (203,)).to(torch.uint8).numpy()
    network = RecurrentNetwork(Symbols(V), LSTM, 1, 8, None, 0.0, False, 0.0, False).double()
    return GradientLearning(
        network, Streams(text, V, B, T), partial(torch.optim.SGD, lr=rate), schedule, 30, loss, clip_value, clip_norm, 0
    )


def trained(module):
    return [parameter for parameter in module.network.parameters() if parameter.requires_grad]


def fit(module, steps):
    lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module)


def by_hand(module, steps, loss, clip_value, clip_norm, rates):
    """Softmax cross-entropy over each stream and step by itself, the state carried, plain gradient descent."""
    network, streams = module.network, module.streams
    for step in range(steps):
        window = streams.window(step)
        if step % len(streams) == 0:
            state = tuple(torch.zeros(1, B, 8, dtype=torch.double) for _ in range(2))
        logits, state = network(window.inputs, tuple(part.detach() for part in state))
        total = sum(
            -torch.log_softmax(logits[t, b], 0)[window.targets[t, b]]
            for t in range(len(window.targets))
            for b in range(B)
            if window.targets[t, b] != V
        )
        (total / (int((window.targets != V).sum()) if loss == "mean" else B)).backward()
        if clip_value:
            for parameter in trained(module):
                parameter.grad.clamp_(-clip_value, clip_value)
        if clip_norm:
            norm = torch.sqrt(sum((parameter.grad**2).sum() for parameter in trained(module)))
            for parameter in trained(module):
                parameter.grad.mul_(min(1.0, clip_norm / (norm + 1e-6)))
        with torch.no_grad():
            for parameter in trained(module):
                parameter -= rates(step) * parameter.grad
                parameter.grad = None


@pytest.mark.parametrize(
    "loss, clip_value, clip_norm",
    [("mean", None, None), ("sum", None, None), ("sum", 0.05, None), ("sum", None, 0.1), ("mean", 0.01, 0.02)],
)
def test_steps_are_those_of_plain_gradient_descent(loss, clip_value, clip_norm):
    ours, theirs = learning(loss, clip_value, clip_norm), learning(loss)
    steps = len(ours.streams) + 2  # past the end of an epoch and its shorter last window
    fit(ours, steps)
    by_hand(theirs, steps, loss, clip_value, clip_norm, lambda step: 0.5)
    for mine, other in zip(trained(ours), trained(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_the_schedule_multiplies_the_rate_step_by_step():
    ours, theirs = (learning(schedule=partial(epoch_decay, after=0, factor=0.5)) for _ in range(2))
    steps = 2 * len(ours.streams) + 1
    fit(ours, steps)
    by_hand(theirs, steps, "mean", None, None, lambda step: 0.5 * 0.5 ** (step // len(ours.streams)))
    for mine, other in zip(trained(ours), trained(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_the_gradient_stops_at_the_window_and_the_state_does_not():
    module = learning()
    fit(module, 3)
    assert all(not part.requires_grad and part.abs().sum() > 0 for part in module.state)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="trainer.loss=median: take mean or sum"):
        learning("median")
