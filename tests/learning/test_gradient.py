"""One training step against plain PyTorch."""

from functools import partial

import pytest
import pytorch_lightning as lightning
import torch

from pipeline.cells.lstm import LSTM
from pipeline.datasets.space import Symbols
from pipeline.datasets.text import TextWindows
from pipeline.learning.gradient import GradientLearning
from pipeline.learning.schedules import constant, epoch_decay
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.recurrence.dropout import Dropout, share_masks

V, B, T = 6, 4, 5


def learning(loss="mean", clip_value=None, clip_norm=None, schedule=constant, rate=0.5, optimizer=None, ema_decay=None):
    torch.manual_seed(1)
    text = torch.randint(0, V, (203,)).to(torch.uint8).numpy()
    network = RecurrentNetwork(
        Symbols(V),
        Symbols(V),
        (),
        cell=LSTM,
        layers=1,
        hidden=8,
        embedding=None,
        dropout=0.0,
        skip_connections=False,
        initial_state=0.0,
        learned_initial_state=False,
    ).double()
    return GradientLearning(
        network,
        TextWindows(text, V, B, T),
        optimizer or partial(torch.optim.SGD, lr=rate),
        schedule,
        30,
        loss,
        clip_value,
        clip_norm,
        0,
        ema_decay,
    )


def trained(module):
    return [parameter for parameter in module.network.parameters() if parameter.requires_grad]


def fit(module, steps, checkpoint=None):
    lightning.Trainer(
        max_epochs=1,
        limit_train_batches=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, ckpt_path=checkpoint)


def by_hand(module, steps, loss, clip_value, clip_norm, rates):
    """Softmax cross-entropy over each stream and step by itself, the state carried, plain gradient descent."""
    network, batches = module.network, module.batches
    for step in range(steps):
        batch = batches.at(step)
        if step % len(batches) == 0:
            state = tuple(torch.zeros(1, B, 8, dtype=torch.double) for _ in range(2))
        logits, state = network(batch.inputs, tuple(part.detach() for part in state))
        total = sum(
            -torch.log_softmax(logits[t, b], 0)[batch.targets[t, b]]
            for t in range(len(batch.targets))
            for b in range(B)
            if batch.targets[t, b] != V
        )
        (total / (int((batch.targets != V).sum()) if loss == "mean" else B)).backward()
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
    steps = len(ours.batches) + 2  # past the end of an epoch and its shorter last window
    fit(ours, steps)
    by_hand(theirs, steps, loss, clip_value, clip_norm, lambda step: 0.5)
    for mine, other in zip(trained(ours), trained(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_the_schedule_multiplies_the_rate_step_by_step():
    ours, theirs = (learning(schedule=partial(epoch_decay, after=0, factor=0.5)) for _ in range(2))
    steps = 2 * len(ours.batches) + 1
    fit(ours, steps)
    by_hand(theirs, steps, "mean", None, None, lambda step: 0.5 * 0.5 ** (step // len(ours.batches)))
    for mine, other in zip(trained(ours), trained(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_a_schedule_may_set_the_momentum_too():
    def rising(step, steps, epoch):
        return {"momentum": (step + 1) / 10}

    optimizer = partial(torch.optim.SGD, lr=0.5, momentum=0.9)
    ours, theirs = learning(schedule=rising, optimizer=optimizer), learning()
    fit(ours, 5)
    velocity = [torch.zeros_like(parameter) for parameter in trained(theirs)]
    state = tuple(torch.zeros(1, B, 8, dtype=torch.double) for _ in range(2))
    for step in range(5):
        batch = theirs.batches.at(step)
        logits, state = theirs.network(batch.inputs, tuple(part.detach() for part in state))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=V)
        gradients = torch.autograd.grad(loss, trained(theirs))
        with torch.no_grad():
            for v, parameter, gradient in zip(velocity, trained(theirs), gradients):
                parameter -= 0.5 * v.mul_(0.9 * (step + 1) / 10).add_(gradient)
    for mine, other in zip(trained(ours), trained(theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)
    assert ours.rate == 0.5


def test_the_momentum_of_adam_is_its_first_beta():
    def rising(step, steps, epoch):
        return {"lr": 0.1, "momentum": 0.5}

    module = learning(schedule=rising, optimizer=partial(torch.optim.Adam, lr=0.01, betas=(0.8, 0.99)))
    fit(module, 2)
    [group] = module.trainer.optimizers[0].param_groups
    assert group["betas"] == (0.4, 0.99) and group["lr"] == pytest.approx(0.001) == module.rate


def test_a_schedule_of_what_the_optimizer_lacks_is_refused():
    module = learning(schedule=lambda step, steps, epoch: {"damping": 1.0})
    with pytest.raises(ValueError, match="the schedule sets its damping, which it does not have: take another"):
        module.configure_optimizers()


def test_the_gradient_stops_at_the_window_and_the_state_does_not():
    module = learning()
    fit(module, 3)
    assert all(not part.requires_grad and part.abs().sum() > 0 for part in module.state)


def test_what_was_asked_is_counted_target_by_target():
    """An epoch's last batch is shorter."""
    module = learning()
    steps = len(module.batches) + 1
    assert len(module.batches.at(steps - 2).inputs) < T
    fit(module, steps)
    assert module.asked == 202 + B * T
    assert module.take_losses()[0] > 0 and module.asked_before == module.asked and module.total == 0


def test_dropouts_numbers_are_a_function_of_the_seed_and_the_step():
    ours, theirs = learning(), learning()
    for module, before in ((ours, 1), (theirs, 99)):
        module.network.stack.dropout.p = 0.5
        torch.manual_seed(before)
        fit(module, 3)
    for mine, other in zip(trained(ours), trained(theirs), strict=True):
        assert torch.equal(mine, other)


def test_a_state_starts_anew_after_as_many_batches_as_restart_says():
    """Windows of 5 steps: anew at every third for 15 to 19 steps, and with the pass."""
    module, starts = learning(), []
    module.network.restart = 17
    start = module.network.start
    module.network.start = lambda *of: (starts.append(module.global_step), start(*of))[1]
    fit(module, 24)
    assert len(module.batches) == 11 and starts == [0, 3, 6, 9, 11, 14, 17, 20, 22]
    assert module.state[0].abs().max() > 0


@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_judged_is_the_moving_average_of_the_weights(decay):
    """0.3 is soon reached, 0.9 not yet: a_t = d_t a_{t-1} + (1 - d_t) w_t, d_t = min(d, (1 + t) / (10 + t))."""
    weights = []

    class Noting(torch.optim.SGD):
        def step(self):
            super().step()
            weights.append([w.detach().numpy().copy() for w in self.param_groups[0]["params"]])

    module, plain = learning(optimizer=partial(Noting, lr=0.5), ema_decay=decay), learning()
    fit(module, 7)
    expected = weights[0]
    for t, ws in enumerate(weights[1:], 2):
        d = min(decay, (1 + t) / (10 + t))
        expected = [d * a + (1 - d) * w for a, w in zip(expected, ws, strict=True)]
    averages = [
        average for average, w in zip(module.judged.parameters(), module.network.parameters()) if w.requires_grad
    ]
    for ours, average in zip(averages, expected, strict=True):
        torch.testing.assert_close(ours, torch.as_tensor(average), rtol=1e-12, atol=1e-14)
    fit(plain, 7)
    for ours, theirs in zip(trained(module), trained(plain), strict=True):  # which learn as ever
        assert torch.equal(ours, theirs)


def test_dropouts_masks_are_those_of_the_whole_batch():
    whole, part = Dropout(0.5), Dropout(0.5)
    share_masks(part, 6, slice(2, 4))
    x = torch.ones(5, 6, 7)
    torch.manual_seed(0)
    expected = whole(x)[:, 2:4]
    torch.manual_seed(0)
    assert torch.equal(part(x[:, 2:4]), expected)
    share_masks(part, 6, slice(0, 6))
    torch.manual_seed(0)
    assert torch.equal(part(x)[:, 2:4], expected)
    assert part.eval()(x) is x
