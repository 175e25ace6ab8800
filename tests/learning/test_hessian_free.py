"""A step of Hessian-free optimization beside one with dense matrices, and the rules that it is made of by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batch, Batches
from pipeline.datasets.space import Pixels, Reals, Symbols
from pipeline.learning.conjugate_gradient import Iterate
from pipeline.learning.hessian_free import HessianFreeLearning, backtracked, damping_factor, line_search
from pipeline.learning.rule import HessianFree
from pipeline.models.delay_taps import DelayTaps
from tests.conftest import composed, trained
from tests.learning.test_curvature import B, drawn, explicit
from tests.test_train import command, finish


class Same(Batches):
    """The same batch at each step."""

    nothing, longest, elements = 1.0, 4, 12

    def __init__(self, batch: Batch):
        super().__init__(batch.inputs.shape[1], 0, 1)
        self.whole = batch

    def __len__(self):
        return 1

    def at(self, step):
        return self.whole


class Alone(HessianFreeLearning):
    """Without a trainer: one process."""

    trainer = SimpleNamespace(world_size=1)


def learning(network, batch, loss="mean", damping=0.1, structural=0.3, steps=50, some=None, micro_batch=None):
    return Alone(network, Same(batch), loss, damping, structural, steps, some, micro_batch, seed=5)


def mean_loss(network, batch, theta=None, count=None):
    """f, with other parameters for as long as it takes."""
    parameters = [part for part in network.parameters() if part.requires_grad]
    before = torch.nn.utils.parameters_to_vector(parameters)
    if theta is not None:
        torch.nn.utils.vector_to_parameters(torch.as_tensor(theta), parameters)
    loss = network.loss(batch, network.start(batch.inputs.shape[1]))[0] / (count or batch.count)
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)]).numpy()
    torch.nn.utils.vector_to_parameters(before, parameters)
    return loss.item(), gradient, before.detach().numpy().copy()


def textbook_steps(A, b, M, x, most):
    """All iterates of preconditioned conjugate gradients, by the recurrences of the residual b - A x."""
    r = b - A @ x
    p = np.linalg.solve(M, r)
    yield x
    for _ in range(most):
        z = np.linalg.solve(M, r)
        alpha = (r @ z) / (p @ A @ p)
        x = x + alpha * p
        after = r - alpha * (A @ p)
        p = np.linalg.solve(M, after) + (after @ np.linalg.solve(M, after)) / (r @ z) * p
        r = after
        yield x


def dense_steps(network, batch, damping, mu, most, steps, count):
    """theta and lambda after so many steps, each of `most` < 11 steps of conjugate gradients, by explicit matrices; the
    curvature of the whole batch."""
    start = None
    for step in range(steps):
        f, g, theta = mean_loss(network, batch, count=count)
        start = np.zeros_like(g) if start is None else start
        G, S = (part / count for part in explicit(network, batch, True)[:2])
        draw = torch.Generator().manual_seed((5 << 40) + step)
        signs = np.stack([2 * torch.randint(2, (B,), generator=draw).numpy() - 1.0 for _ in range(8)])
        each = np.stack([gradient_of(network, batch, b) for b in range(B)])
        squares = ((signs @ each) ** 2).mean(0) / count
        A = G + damping * np.eye(len(g)) + damping * mu * S
        start = 0.95 * start
        if 0.5 * start @ A @ start + g @ start > 0:
            start = np.zeros_like(g)
        every = list(textbook_steps(A, -g, np.diag((squares + damping) ** 0.75), start, most))
        start = every[most]
        kept = sorted({min(math.ceil(1.3**j), most) for j in range(40)})
        losses = {i: mean_loss(network, batch, theta + every[i], count)[0] for i in kept}
        at = len(kept) - 1
        while at and losses[kept[at - 1]] <= losses[kept[at]]:
            at -= 1
        d = every[kept[at]]
        ratio = (losses[kept[at]] - f) / (g @ d + 0.5 * d @ G @ d)
        damping *= 1.5 if ratio < 0.25 else 2 / 3 if ratio > 0.75 else 1
        rates = [0.8**k for k in range(60)]
        rate = next(
            rate for rate in rates if mean_loss(network, batch, theta + rate * d, count)[0] <= f + 0.01 * rate * g @ d
        )
        theta = theta + rate * d
        torch.nn.utils.vector_to_parameters(torch.as_tensor(theta), list(network.parameters()))
    return theta, damping


def gradient_of(network, batch, b):
    one = batch.sequences(torch.tensor([b]))
    return mean_loss(network, one, count=1)[1]


@pytest.mark.parametrize("loss, micro_batch", [("mean", None), ("sum", 2)])
@pytest.mark.parametrize("model, answers", [("rnn", Symbols(3)), ("gru", Reals(2))])
def test_steps_are_those_with_dense_matrices(model, answers, loss, micro_batch):
    network, batch = drawn(model, answers)
    ours = learning(network, batch, loss, damping=0.03, steps=7, micro_batch=micro_batch)
    for _ in range(3):
        ours.learn(batch)
        ours._steps += 1
    other, _ = drawn(model, answers)
    theta, damping = dense_steps(other, batch, 0.03, 0.3, 7, 3, batch.count if loss == "mean" else B)
    found = torch.nn.utils.parameters_to_vector([part for part in network.parameters() if part.requires_grad])
    np.testing.assert_allclose(found.detach().numpy(), theta, rtol=1e-6, atol=1e-8)
    assert ours.damping == pytest.approx(damping) and ours.damping != 0.03
    assert mean_loss(network, batch)[0] < 0.9 * ours.total.item() / ours.asked


def test_a_quadratic_loss_is_minimal_after_a_step():
    """Linear delay taps and squared errors, next to no damping: as least squares solve it."""
    torch.manual_seed(0)
    network = DelayTaps(Reals(2), Reals(1), (), taps=2).double()
    x, y = torch.randn(9, 4, 2, dtype=torch.float64), torch.randn(9, 4, 1, dtype=torch.float64)
    batch = Batch(x, y, 36)
    ours = learning(network, batch, damping=1e-10, structural=0.0)
    ours.learn(batch)
    seen = torch.cat([x, torch.cat([torch.zeros_like(x[:1]), x[:-1]]), torch.ones_like(y)], dim=-1).flatten(0, 1)
    best = (seen @ torch.linalg.lstsq(seen, y.flatten(0, 1)).solution - y.flatten(0, 1)).square().mean()
    assert mean_loss(network, batch)[0] == pytest.approx(best.item(), rel=1e-9)
    assert ours.damping == pytest.approx(2e-10 / 3)  # the model was right


def test_the_curvature_is_that_of_sequences_evenly_spaced_in_the_batch():
    network, batch = drawn("rnn", Symbols(3))
    ours = learning(network, batch, some=2)
    assert ours.chosen.tolist() == [0, 1]
    ours = Alone(network, SimpleNamespace(batch=10, own=slice(5, 10), nothing=1.0), "mean", 1, 0, 1, 4, None, 0)
    assert ours.chosen.tolist() == [0, 2, 5, 7] and ours.own.tolist() == [False, False, True, True]


def test_backtracking_goes_on_while_the_loss_falls():
    def picked(*losses):
        every = [Iterate(k, torch.tensor(float(k)), 0.0) for k in range(len(losses))]
        return int(backtracked(every, lambda x: losses[int(x)]))

    assert picked(1.0, 3.0, 2.0, 2.0, 2.5) == 2  # an equal one is as good and nearer; what lies beyond 3 is not tried
    assert picked(3.0, 2.0, 1.0) == 2 and picked(1.0, 2.0, 3.0) == 0 and picked(5.0) == 0
    assert picked(1.0, 2.0, math.inf, math.nan) == 0


@pytest.mark.parametrize(
    "change, expected, factor",
    [
        (-1.0, -1.0, 2 / 3), (-0.76, -1.0, 2 / 3), (-0.75, -1.0, 1.0), (-0.25, -1.0, 1.0), (-0.24, -1.0, 3 / 2),
        (0.5, -1.0, 3 / 2), (math.nan, -1.0, 3 / 2), (math.inf, -1.0, 3 / 2), (0.5, 0.5, 3 / 2), (0.0, 0.0, 1.0),
    ],
)  # fmt: skip
def test_damping_follows_the_ratio_of_what_was_gained_to_what_was_expected(change, expected, factor):
    assert damping_factor(change, expected) == factor


def test_the_rate_is_the_first_that_keeps_a_hundredth_of_what_the_slope_promises():
    def loss(rate):  # slope -1 at 0, least at 1/3
        return 5.0 - rate + 1.5 * rate**2

    assert loss(0.8**2) < 4.9936 < loss(0.8)  # 5 - 0.01 0.8^2
    assert line_search(loss, 5.0, loss(1.0), -1.0) == pytest.approx(0.8**2)
    assert line_search(loss, 5.0, 4.99, -1.0) == 1.0  # at 1 is what it is told
    assert line_search(lambda rate: math.nan, 5.0, math.nan, -1.0) == 0.0
    assert line_search(lambda rate: 5.0, 5.0, 5.0, -1.0) == 0.0
    assert line_search(lambda rate: 5.0 + rate, 5.0, 6.0, 1000.0) == 0.0  # a slope uphill permits no rise


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["model.weight_drop=0.3"], "model.weight_drop=0.3: optimizer=hessian_free .*: take 0"),
        (["trainer.ema_decay=0.9"], "trainer.ema_decay=0.9: only weights that are learned by gradient .*: take null"),
        (["model.dropout=0.3"], "model.dropout=0.3: optimizer=hessian_free .*: take 0"),
        (["readout=sampled"], "readout=sampled: optimizer=hessian_free .*: take readout=linear"),
        (
            ["optimizer.curvature_batch=9"],
            "optimizer.curvature_batch=9: .*trainer.batch=4 .*: take that at most, or null",
        ),
        (["model=delay_taps"], "optimizer.structural_damping=0.0333: model=delay_taps has no hidden units.*: take 0"),
        (["schedule=cosine"], "schedule=cosine: optimizer=hessian_free has no learning rate.*: leave it out"),
        (["trainer.restart=3"], "trainer.restart=3: a batch has trainer.length=16 steps"),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)
def test_what_it_cannot_do_is_refused(tmp_path, overrides, said):
    base = ["data=sine", "model=rnn", "scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}"]
    if "readout=sampled" in overrides:
        base[0:1] = ["data=copying"]
    with pytest.raises(Refusal, match=said):
        trained(*base, "optimizer=hessian_free", *overrides)


def test_features_in_units_of_each_batch_are_refused():
    """Every loss of them moves the averages that the next is corrected toward."""
    data = SimpleNamespace(given=(Pixels(3 * 8 * 8),), shape=lambda batch, length: (batch, length))
    cfg = composed("data=sine", "model=rnn", "optimizer=hessian_free", "scale=smoke")
    with pytest.raises(Refusal, match="encoder.fine_tune=true: optimizer=hessian_free compares .*: take false"):
        HessianFree.settle(cfg, data)


def test_nothing_is_said_of_what_pytorch_is_made_of(tmp_path):
    words = ["data=adding", "data.lag=20", "optimizer=hessian_free", "optimizer.curvature_batch=2", "trainer.batch=4"]
    process = command(*words, "scale=smoke", "trainer.steps=1", "tracking.uri=null", f"paths.runs={tmp_path}")
    code, _, err = finish(process)
    assert (code, err) == (0, "")
