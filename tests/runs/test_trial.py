"""A few steps that keep nothing."""

import re
from types import SimpleNamespace

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import load_data
from pipeline.runs.building import initial_learning
from pipeline.runs.settling import settle
from pipeline.runs.trial import Watch, readable, try_out
from tests.conftest import composed

RUN = ["data=adding", "scale=smoke", "model=rnn", "model.hidden=4", "tracking.uri=null", "optimizer=sgd"]


def said(*overrides: str) -> str:
    lines: list[str] = []
    try_out(composed(*overrides), lines.append)
    return "\n".join(lines)


def test_it_shows_parameters_shapes_losses_and_gradients_of_three_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [*RUN, "trainer.clip_value=null", "optimizer.lr=0.5", "trainer.engine=reference"]
    shown = said(*overrides)
    assert not list(tmp_path.iterdir())
    cfg = composed(*overrides)
    data = load_data(cfg.data)
    learning, _ = initial_learning(settle(cfg, data), data, 0)
    network, batch = learning.network, learning.batches.at(0).to(torch.device("cpu"), torch.float32)
    assert f"  all {' ' * 20}" in shown and re.search(rf"^  all +{network.count_parameters()}$", shown, re.MULTILINE)
    assert re.search(r"^  stack\.cells\.0\.input_weight +\[4, 2\] +8 ", shown, re.MULTILINE)
    _, first, second, third = shown.split("\nstep ")
    assert first.startswith(f"1: inputs {list(batch.inputs.shape)}, targets {list(batch.targets.shape)}\n")
    loss, _ = network.loss(batch, network.start(batch.inputs.shape[1]))
    (loss / batch.count).backward()
    assert f"  loss {loss.item() / batch.count:.4f} squared error; kept for backpropagation: " in first
    for name, one in network.named_parameters():
        if one.requires_grad:
            gradient, change = re.search(rf"^  {re.escape(name)} +(\S+) +(\S+)", first, re.MULTILINE).groups()
            assert float(gradient) == pytest.approx(one.grad.norm().item(), rel=0.01)
            assert float(change) == pytest.approx(0.5 * one.grad.norm().item(), rel=0.01)
    assert float(re.search(r"kept for backpropagation: ([\d.]+)", first)[1]) > 0


def test_the_operation_that_makes_a_nan_is_named():
    with (
        pytest.warns(UserWarning, match="Error detected in TanhBackward0"),
        pytest.raises(Refusal, match=r"^step 2: Function 'TanhBackward0' returned nan values in its 0th output: "),
    ):
        said(*RUN, "optimizer.lr=1e25", "trainer.clip_value=null")
    assert not torch.is_anomaly_enabled()


def test_other_ways_to_learn_are_tried_too():
    shown = said("data=sine", "data.length=2000", "scale=smoke", "model=lds", "tracking.uri=null")
    assert "backpropagation" not in shown and re.search(r"\nstep 3: .*\n  C +- +[\d.e-]*[1-9]", shown, re.DOTALL)
    shown = said(*RUN[:-1], "optimizer=hessian_free", "trainer.batch=2")
    assert "\nstep 3: " in shown and re.search(r"readout\.weight +- +[\d.e-]*[1-9]", shown)
    with pytest.raises(Refusal, match=r"^trainer\.engine=fused: debug runs the plain loop"):
        said(*RUN, "trainer.engine=fused")


def test_what_is_kept_for_backpropagation_is_counted_once_and_without_parameters():
    """The input [5, 3] and the tanh [5, 2], which the second layer keeps too."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    network.dtype, x = torch.float32, torch.ones(5, 3)
    batches = SimpleNamespace(at=lambda step: Batch(x, x[:, :1], 5))
    learning = SimpleNamespace(network=network, batches=batches, device=torch.device("cpu"))
    watch = Watch("nats", True, lambda line: None)
    watch.on_train_batch_start(None, learning)
    network(x).sum().backward()
    watch.open.close()
    assert sum(watch.saved.values()) == 4 * (5 * 3 + 5 * 2)


def test_bytes_are_readable():
    assert [readable(count) for count in (0, 1023, 1024, 1.5 * 2**20, 2**45)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 MiB",
        "32768.0 GiB",
    ]
