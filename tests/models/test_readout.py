"""Readouts against explicit matrices, PyTorch's own class, and the full softmax."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.cells.lstm import LSTM
from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Bits, Reals, Symbols
from pipeline.files.whole import read_lines
from pipeline.models.readout import BLOCK, AdaptiveReadout, LinearReadout, SampledReadout, TiedReadout
from pipeline.models.recurrent import RecurrentNetwork
from tests.conftest import trained

T, B, H, V = 5, 3, 12, 30


def seen(seed: int = 0, width: int = H) -> torch.Tensor:
    return torch.randn(T, B, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def asked(count: int = V) -> torch.Tensor:
    """Targets, some of them blank."""
    return torch.randint(count + 1, (T, B), generator=torch.Generator().manual_seed(1)).index_fill(
        0, torch.tensor(0), count
    )


def gradients(readout, h, y) -> dict[str, torch.Tensor]:
    readout.zero_grad()
    readout.loss(h, y).backward()
    return {name: parameter.grad.clone() for name, parameter in readout.named_parameters()}


def test_linear_is_a_matrix_and_a_bias_for_every_kind_of_answer():
    for answers, y in ((Symbols(V), asked()), (Reals(2), seen(2, 2)), (Bits(2), (seen(2, 2) > 0).double())):
        readout, h = LinearReadout(H, answers).double(), seen()
        z = torch.einsum("oh,tbh->tbo", readout.weight, h) + readout.bias
        torch.testing.assert_close(readout(h), z)
        torch.testing.assert_close(readout.loss(h, y), answers.loss(z, y))
        assert readout.weight.abs().max() <= 1 / math.sqrt(H)


def test_tied_is_the_embeddings_matrix_and_learns_from_both_its_uses():
    cell, symbols = partial(LSTM, recurrent_bias=False), Symbols(V)
    network = RecurrentNetwork(
        symbols, symbols, (), cell, 1, H, H, 0.0, False, 0.0, False, readout=TiedReadout
    ).double()
    x, y = torch.randint(V, (T, B)), asked()
    assert network.count_parameters() == V * H + V + 4 * H * (2 * H + 1)
    batch = Batch(x, y, 1)
    network.loss(batch, network.start(B))[0].backward()
    found = network.embedding.weight.grad
    reading, answering = (network.embedding.weight.detach().clone().requires_grad_() for _ in range(2))
    outputs, _ = network.stack(F.embedding(x, reading), network.start(B))
    z = outputs[-1] @ answering.T + network.readout.bias
    torch.testing.assert_close(network(x, network.start(B))[0], z)
    Symbols(V).loss(z, y).backward()
    assert reading.grad.abs().sum() > 0 and answering.grad.abs().sum() > 0
    torch.testing.assert_close(found, reading.grad + answering.grad)
    again = torch.nn.Module.state_dict(network)
    network.load_state_dict(again)
    assert network.readout.weight is network.embedding.weight


@pytest.mark.parametrize("frozen", ["", "h", "weight", "bias"])
def test_a_loss_found_block_by_block_is_that_of_all_logits_at_once(monkeypatch, frozen):
    torch.manual_seed(0)
    readout, h, y = LinearReadout(H, Symbols(V)).double(), seen().requires_grad_(), asked()
    operands = {"h": h, **dict(readout.named_parameters())}
    if frozen:
        operands.pop(frozen).requires_grad_(False)
    whole = readout.loss(h, y)
    expected = torch.autograd.grad(3 * whole, list(operands.values()))
    monkeypatch.setattr("pipeline.models.readout.BLOCK", 4 * V + 1)  # blocks of 4 rows, the last one of 3
    in_blocks = readout.loss(h, y)
    torch.testing.assert_close(in_blocks, whole, rtol=1e-12, atol=0)
    found = torch.autograd.grad(3 * in_blocks, list(operands.values()))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        torch.testing.assert_close(readout.loss(h, y), whole, rtol=1e-12, atol=0)


@pytest.mark.parametrize("learning", [True, False])
def test_a_large_vocabularys_logits_are_never_in_memory_all_at_once(learning):
    many, steps, batch, width = 33_000, 35, 64, 8
    readout = LinearReadout(width, Symbols(many, "word"))
    h, y = torch.randn(steps, batch, width, requires_grad=True), torch.randint(many, (steps, batch))
    with Largest() as largest, torch.set_grad_enabled(learning):
        loss = readout.loss(h, y)
        if learning:
            loss.backward()
    assert BLOCK - many < largest.numbers <= BLOCK < steps * batch * many / 17
    assert loss.item() / (steps * batch) == pytest.approx(math.log(many), rel=0.1)


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(part.numel() for part in tree_leaves(made) if torch.is_tensor(part))])
        return made


def test_adaptive_is_pytorchs_and_its_probabilities_sum_to_one():
    torch.manual_seed(0)
    readout, h, y = AdaptiveReadout(H, Symbols(V), None, [5, 12], 2.0).double(), seen(), asked()
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(H, V, [5, 12], 2.0).double()
    theirs.load_state_dict(readout.softmax.state_dict())
    z = readout(h)
    assert z.shape == (T, B, V)
    torch.testing.assert_close(z.exp().sum(-1), torch.ones(T, B, dtype=torch.float64))
    flat = y.flatten()
    expected = -theirs(h.flatten(0, 1)[flat < V], flat[flat < V]).output.sum()
    torch.testing.assert_close(readout.loss(h, y), expected)
    torch.testing.assert_close(Symbols(V).loss(z, y), expected)  # what held-out parts are judged by


@pytest.mark.parametrize(
    "readout", [partial(AdaptiveReadout, cutoffs=[5, 12], factor=2.0), partial(SampledReadout, samples=4)]
)
def test_every_parameter_has_a_gradient_whatever_is_asked(readout):
    """Ranks wait for the gradients of all parameters."""
    torch.manual_seed(0)
    readout = readout(H, Symbols(V), None).double()
    for y in (torch.full((T, B), V), torch.full((T, B), 1), torch.full((T, B), 29)):
        h = seen().requires_grad_()
        loss = readout.loss(h, y)
        loss.backward()
        assert loss.isfinite() and h.grad is not None and (loss == 0) == bool((y == V).all())
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in readout.parameters())
        assert y[0, 0] < V or all((parameter.grad == 0).all() for parameter in readout.parameters())
        readout.zero_grad()


def test_sampled_is_linear_when_it_is_judged():
    torch.manual_seed(0)
    readout, h, y = SampledReadout(H, Symbols(V), None, 4).double(), seen(), asked()
    linear = LinearReadout(H, Symbols(V)).double()
    linear.load_state_dict(readout.state_dict())
    readout.eval()
    torch.testing.assert_close(readout(h), linear(h))
    torch.testing.assert_close(readout.loss(h, y), linear.loss(h, y))
    readout.train()
    assert not torch.isclose(readout.loss(h, y), linear.loss(h, y))


def test_symbols_are_drawn_as_the_proposal_says():
    torch.manual_seed(0)
    readout = SampledReadout(H, Symbols(V), None, 200_000)
    q = readout.double().log_proposal(torch.arange(V)).exp()
    assert q.sum().item() == pytest.approx(1) and (q.diff() < 0).all()
    assert q[3].item() == pytest.approx(math.log(5 / 4) / math.log(V + 1))
    drawn = readout.draw()
    assert 0 <= drawn.min() and drawn.max() < V
    share = drawn.bincount(minlength=V) / readout.samples
    assert ((share - q).abs() < 4.5 * (q * (1 - q) / readout.samples).sqrt()).all()


def test_a_sampled_loss_by_hand_leaves_out_targets_drawn_by_accident():
    readout, h = SampledReadout(H, Symbols(V), None, 6).double(), seen()[:1, :1]
    readout.draw = lambda: torch.tensor([0, 7, 7, 2, 19, 2])
    z, q = readout(h)[0, 0].tolist(), readout.log_proposal(torch.arange(V)).exp().tolist()
    for y, others in ((7, [0, 2, 19, 2]), (3, [0, 7, 7, 2, 19, 2])):
        rest = sum(math.exp(z[k]) / q[k] for k in others) / 6
        expected = math.log(math.exp(z[y]) + rest) - z[y]
        assert readout.loss(h, torch.tensor([[y]])).item() == pytest.approx(expected)
    grad = gradients(readout, h, torch.tensor([[7]]))["bias"]
    assert sorted(grad.nonzero().flatten().tolist()) == [0, 2, 7, 19]


def test_the_sampled_gradients_mean_approaches_that_of_the_full_softmax():
    """Its error is O(1/S): with 16 times as many symbols drawn it is a small part of what it was."""
    torch.manual_seed(0)
    h, y, errors = 2 * seen(), asked(), []
    linear = LinearReadout(H, Symbols(V)).double()
    with torch.no_grad():
        linear.weight.mul_(2)
    exact = gradients(linear, h, y)
    for samples, draws in ((16, 500), (256, 150)):
        readout = SampledReadout(H, Symbols(V), None, samples).double()
        readout.load_state_dict(linear.state_dict())
        total = {name: torch.zeros_like(part) for name, part in exact.items()}
        for _ in range(draws):
            for name, part in gradients(readout, h, y).items():
                total[name] += part / draws
        errors.append({name: ((total[name] - part).norm() / part.norm()).item() for name, part in exact.items()})
    for name in exact:
        assert errors[1][name] < min(0.04, errors[0][name] / 8), errors


def test_a_large_vocabulary_fits_while_learning():
    """No [T, B, V] tensor is made: the largest one has as many numbers as the parameters."""
    many, steps, batch, width = 33_000, 50, 64, 128
    readout = SampledReadout(width, Symbols(many, "word"), None, 1000)
    sizes = []

    def keep(tensor):
        sizes.append(tensor.numel())
        return tensor

    h = torch.randn(steps, batch, width, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        loss = readout.loss(h, torch.randint(many, (steps, batch)))
    assert max(sizes) <= max(many * width, steps * batch * 1001) < steps * batch * many / 20
    loss.backward()
    assert h.grad.abs().sum() > 0 and loss.item() / (steps * batch) == pytest.approx(math.log(many), rel=0.1)


@pytest.mark.parametrize(
    "overrides",
    [
        ["readout=linear"],
        ["readout=tied", "model.embedding=16"],
        ["readout=adaptive", "readout.cutoffs=[6,12]", "readout.factor=2"],
        ["readout=sampled", "readout.samples=16"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_each_choice_learns_a_text(run_in, overrides):
    run = run_in(*overrides, "trainer.steps=60", "trainer.validate_every=20", "optimizer.lr=0.01")
    losses = [record["validation"] for record in read_lines(run.metrics) if "validation" in record]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] - 0.1
    assert len(read_lines(run.samples)[-1]["text"]) == 200 and run.finished


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["readout=tied"], "readout=tied: shares the embedding .*: take model.embedding=16"),
        (
            ["readout=tied", "model.embedding=8"],
            "model.embedding=8 is to be as wide as .*, 16: take model.embedding=16",
        ),
        (
            ["readout=adaptive"],
            r"readout.cutoffs=\[2000, 10000\]: take increasing whole numbers from 1 to 2\d, or readout",
        ),
        (["readout=adaptive", "readout.cutoffs=[9,6]"], r"readout.cutoffs=\[9, 6\]: take increasing"),
        (["readout=adaptive", "readout.cutoffs=[6]", "readout.factor=1"], "readout.factor=1: take a number above 1"),
        (["readout=sampled", "readout.samples=0"], "readout.samples=0: take a whole number from 1"),
        (
            ["readout=adaptive", "data=sine", "data.length=1000"],
            "readout=adaptive: answers with symbols: take readout=linear",
        ),
        (
            ["readout=sampled", "data=sine", "data.length=1000"],
            "readout=sampled: answers with symbols: take readout=linear",
        ),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_makes_no_sense_is_refused(small, tmp_path, overrides, said):
    text = [] if "data=sine" in overrides else small[:3]
    with pytest.raises(Refusal, match=said) as refusal:
        trained(*text, *small[3:], *overrides)
    assert "\n" not in str(refusal.value) and not list(tmp_path.glob("runs/*/*"))


def test_a_budget_of_parameters_with_a_tied_readout(run_in):
    run = run_in("readout=tied", "model.embedding='${.hidden}'", "model.parameter_budget=4000", "trainer.steps=2")
    assert 3500 < run.facts["parameters"] <= 4000 and run.config().model.embedding == run.config().model.hidden
