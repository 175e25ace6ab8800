"""Every kind of model trains, validates and writes on a GPU as on the CPU, and Python waits for it no more often than
listed: shown on a pretended one (tests/pretended.py), whose numbers lie in the CPU's memory."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from pipeline.files.whole import read_lines
from pipeline.learning.gradient import GradientLearning
from pipeline.learning.learning import Learning
from tests.conftest import ROOT, prepared_text, trained, words
from tests.datasets.dictionary import prepared_dictionary
from tests.pretended import DEVICE, Backend, move, pretended, training_on_it, waits
from tests.runs.test_kinds import Stopped

SMALL = ["scale=smoke", "tracking.uri=null", "trainer.sample.length=9", "trainer.sample.at=[]"]
STEPS = ["trainer.steps=2", "trainer.batch=4", "trainer.validation_symbols=40"]
TEXT = [*STEPS, "trainer.length=8"]
PASS = ["optimizer.passes=1", "trainer.batch=4", "trainer.length=300"]
SERIES = ["data=sunspots", "optimizer.passes=2", "trainer.batch=2", "trainer.length=50"]
EPISODES = [
    "data=attractors",
    "data.episodes=4",
    "data.held=4",
    "data.units=20",
    "data.patterns=2",
    "optimizer.passes=1",
    "trainer.batch=4",
]
SCENES = [f"hydra.searchpath=[file://{ROOT}/tests/conf]", "data=shift", *STEPS]
OFTEN = 10**6
# A run of each kind, and which functions wait for the device while it learns, how often at most.
RUNS = {
    "lstm": (["trainer.ema_decay=0.9", *TEXT], {}),
    "mrnn_full": (TEXT, {"cells/matrices.py:gradients": 4}),
    "gru": (
        ["optimizer=hessian_free", "optimizer.cg_steps=2", "trainer.validate_every=2", "model.hidden=4", *TEXT],
        {
            "learning/conjugate_gradient.py:_value": OFTEN,
            "learning/conjugate_gradient.py:conjugate_gradient": OFTEN,
            "learning/hessian_free.py:_gradient": OFTEN,
            "learning/hessian_free.py:_loss_at": OFTEN,
            "learning/hessian_free.py:_step": OFTEN,
        },
    ),
    "word_feedforward": (["readout=linear", "model.embedding=4", *TEXT], {}),
    "delay_taps": (["optimizer=adam", *TEXT], {}),
    "fully_recurrent": (TEXT, {}),
    "classifier": (TEXT, {}),
    "encoder_decoder": (STEPS, {}),
    "show_and_tell": (SCENES, {}),
    "hopfield": (EPISODES, {"models/hopfield.py:accumulate": 2, "models/hopfield.py:update": 1}),
    "hmm": (PASS, {"models/hmm.py:_observations": 3}),
    "lds": (SERIES, {"models/lds.py:_array": OFTEN}),
    "echo_state": (
        PASS,
        {
            "models/echo_state.py:ridge_solution": 1,
            "models/echo_state.py:update": 1,
        },
    ),
    "ngram": (PASS, {"models/ngram.py:_build": 1}),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> list[str]:
    return prepared_text(tmp_path_factory.mktemp("text"), words(800))


@pytest.mark.parametrize("model", RUNS)
def test_a_run_on_the_device_is_that_on_the_cpu(text, tmp_path, monkeypatch, model):
    overrides, allowed = RUNS[model]
    if model == "encoder_decoder":
        overrides = [*prepared_dictionary(tmp_path / "words"), *overrides]
    elif not any(one.startswith("data=") for one in overrides):
        overrides = [*text, *overrides]
    waited, training_step = Counter(), Learning.training_step

    def noted(self, *arguments):
        waits.clear()
        training_step(self, *arguments)
        waited.update(waits)

    monkeypatch.setattr(Learning, "training_step", noted)
    overrides = [f"model={model}", *overrides, *SMALL]
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
