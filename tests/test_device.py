"""Every kind of model trains, validates and writes on a GPU as on the CPU, and Python waits for it no more often than
listed: shown on a pretended one (tests/pretended.py), whose numbers lie in the CPU's memory."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from pipeline.files.whole import read_lines
from pipeline.learning.gradient import GradientLearning
from pipeline.learning.learning import Learning
from tests.conftest import prepared_text, trained, words
from tests.every_kind import PASS, RUNS, SMALL, TEXT, overrides_of
from tests.pretended import DEVICE, Backend, move, pretended, training_on_it, waits
from tests.runs.test_kinds import Stopped


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> list[str]:
    return prepared_text(tmp_path_factory.mktemp("text"), words(800))


@pytest.mark.parametrize("model", RUNS)
def test_a_run_on_the_device_is_that_on_the_cpu(text, tmp_path, monkeypatch, model):
    overrides, allowed = overrides_of(model, text, tmp_path), RUNS[model][1]
    waited, training_step = Counter(), Learning.training_step

    def noted(self, *arguments):
        waits.clear()
        training_step(self, *arguments)
        waited.update(waits)

    monkeypatch.setattr(Learning, "training_step", noted)
    runs = [trained(*overrides, f"paths.runs={tmp_path}/cpu")]
    with training_on_it():
        runs.append(trained(*overrides, f"paths.runs={tmp_path}/device"))
    (ours, said), (theirs, wanted) = ((read_lines(run.metrics), read_lines(run.samples)) for run in runs)
    for one, other in zip(ours, theirs, strict=True):
        for name in ("train", "validation"):
            assert one[name] == pytest.approx(other[name], rel=1e-5)
    assert [one["text"] for one in said] == [one["text"] for one in wanted]
    assert waited <= Counter(allowed), dict(waited)


@pytest.mark.parametrize("model", ["lstm", "ngram"])
def test_a_run_that_was_killed_goes_on_there(text, tmp_path, monkeypatch, model):
    """With optimizer, averages and sums that were kept by the CPU."""
    overrides = [f"model={model}", *text, *SMALL, "trainer.checkpoint_every=1"]
    overrides += PASS if model == "ngram" else [*TEXT, "trainer.steps=4", "optimizer=adam", "trainer.ema_decay=0.9"]
    whole = trained(*overrides, f"paths.runs={tmp_path}/cpu")
    enter = Learning.enter

    def killed(learning, batch):
        if learning.global_step == 2:
            raise Stopped
        enter(learning, batch)

    overrides.append(f"paths.runs={tmp_path}/device")
    with training_on_it():
        monkeypatch.setattr(Learning, "enter", killed)
        with pytest.raises(Stopped):
            trained(*overrides)
        monkeypatch.setattr(Learning, "enter", enter)
        run = trained(*overrides)
    for one, other in zip(read_lines(run.metrics), read_lines(whole.metrics), strict=True):
        assert one["step"] == other["step"] and one["validation"] == pytest.approx(other["validation"], rel=1e-5)


def test_the_time_of_training_is_that_of_the_device(text, tmp_path, monkeypatch):
    """Each step is asked for at once and takes the device 6 seconds."""
    clock, learn = [0.0], GradientLearning.learn

    def asked_for(self, *arguments):
        learn(self, *arguments)
        Backend.queue.append(lambda: clock.append(clock.pop() + 6))

    monkeypatch.setattr(GradientLearning, "learn", asked_for)
    monkeypatch.setattr("pipeline.runs.recorder.time", SimpleNamespace(monotonic=lambda: clock[0]))
    common = [f"paths.runs={tmp_path}", "model=delay_taps", *text, *TEXT, *SMALL]
    common += ["trainer.validation_symbols=9", "trainer.record_every=2", "trainer.sample.length=1"]
    with training_on_it():
        whole = trained(*common, "trainer.steps=4")
        short = trained(*common, "trainer.steps=9", "trainer.seconds=11")
    assert [(record["step"], record["seconds"]) for record in read_lines(whole.metrics)] == [(2, 12), (4, 24)]
    assert [(record["step"], record["seconds"]) for record in read_lines(short.metrics)] == [(2, 12)]


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with pretended():
        here, there = torch.ones(2), torch.ones(2, device=DEVICE)
        with pytest.raises(RuntimeError, match="on the same device, but found pretend:0 and cpu"):
            here + there
        with pytest.raises(RuntimeError, match="on the same device"):
            torch.add(there, there, out=here)
        with pytest.raises(RuntimeError, match="on the same device"):
            torch.tensor(1.0).add_(there.sum())
        with pytest.raises(TypeError, match="can't convert pretend:0 device type tensor to numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="device type for generator"):
            torch.multinomial(there, 1, generator=torch.Generator())
        assert not waits
        assert there.sum() == 2 and there.tolist() == [1, 1] and len(there.nonzero()) == 2
        assert sum(waits.values()) == 3
        layer = torch.nn.Linear(2, 1)
        weight = layer.weight
        move(layer)
        layer(there).sum().backward()
        assert weight is layer.weight and weight.device == weight.grad.device == DEVICE
