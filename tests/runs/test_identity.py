import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.datasets.space import Symbols
from pipeline.runs.identity import asked_size, identify, machine, size
from pipeline.runs.settling import settle
from tests.conftest import composed


def data(fingerprint: str = "f") -> SimpleNamespace:
    """What identity and settling ask of data."""
    symbols = Symbols(65)
    return SimpleNamespace(
        card={"fingerprint": fingerprint},
        reads=symbols,
        answers=symbols,
        given=(),
        judged_on="test",
        criterion=None,
        shape=lambda *asked: asked,
        check_asked=lambda *asked: None,
    )


def identity(*overrides: str, fingerprint: str = "f"):
    return identify(settle(composed(*overrides), data(fingerprint)), data(fingerprint))


BASE = identity("model=lstm")
SAME = [
    "paths.runs=elsewhere",
    "paths.prepared=else",
    "hydra/launcher=local_pool",
    "trainer.progress=bar",
    "trainer.threads=4",
    "trainer.devices=2",
    "trainer.nodes=5",
    "trainer.accelerator=cpu",
    "trainer.record_every=7",
    "trainer.checkpoint_every=9",
    "trainer.engine=reference",
    "tracking.uri=null",
    "evaluation.length=9",
    "data.probes.completions.length=7",
    "~data.probes.completions",
    "+data.probes.other={_target_: pipeline.probes.memory.Memory}",
    "+study.probes={other: {_target_: pipeline.probes.memory.Memory}}",
    "trainer.clip_value=5",
    "fresh=true",
    "optimizer.lr=2e-3",
]
OTHER = [
    "model=gru",
    "model.hidden=129",
    "model.dropout=0.1",
    "model.locked_dropout=true",
    "model.weight_drop=0.1",
    "trainer.ema_decay=0.99",
    "optimizer=adam",
    "optimizer.lr=0.003",
    "initialization=uniform",
    "schedule=cosine",
    "trainer.steps=7",
    "trainer.batch=25",
    "trainer.length=51",
    "trainer.clip_value=null",
    "trainer.loss=sum",
    "trainer.dtype=float64",
    "trainer.matmul_precision=tf32",
    "scale=smoke",
    "trainer.seconds=9",
    "model.skip_connections=true",
    "model.learned_initial_state=true",
    "model.initial_state=0.1",
    "model.cell.recurrent_bias=true",
    "trainer.stop_at={measure: right, value: 0.9}",
    "readout=sampled",
]


@pytest.mark.parametrize("override", SAME)
def test_what_does_not_change_the_result_does_not_change_the_identity(override):
    ours = identity("model=lstm", override)
    assert (ours.name, ours.hash) == (BASE.name, BASE.hash)


@pytest.mark.parametrize("override", OTHER)
def test_what_changes_the_result_changes_the_hash(override):
    assert identity("model=lstm", override).hash != BASE.hash


def test_other_data_are_another_run_and_another_seed_another_directory_of_one_hash():
    base = BASE
    assert identity("model=lstm", fingerprint="g").hash != base.hash
    seeded = identity("model=lstm", "seed=5")
    assert seeded.hash == base.hash and seeded.name == base.name.removesuffix("-s0") + "-s5"
    assert base.directory == Path("runs/single") / f"shakespeare-lstm-1x128-rmsprop-{base.hash}-s0"


def test_the_hash_is_pinned():
    """A change here makes every run that people have start over: change it knowingly."""
    found = identity("model=gru", "data=linux", "scale=smoke", fingerprint="0" * 64)
    assert found.name == "linux-gru-1x16-rmsprop-06f03b4f-s0"


@pytest.mark.parametrize("std, digest", [(0.01, "51377cf5"), (0.02, "3e333293")])
def test_what_was_called_normal_is_found_as_gaussian(std, digest):
    """The hashes that initialization=normal had."""
    found = identity("model=lstm", "initialization=gaussian", f"initialization.std={std}")
    assert found.name == f"shakespeare-lstm-1x128-rmsprop-{digest}-s0"


def test_a_parameter_budget_settles_the_width():
    for model, width in (("rnn", 105), ("lstm", 47)):
        composition = composed(f"model={model}", "model.parameter_budget=25000")
        settled = settle(composition, data())
        name = identify(settled, data()).name
        assert settled.model.hidden == width and composition.model.hidden == 128 and f"-{model}-1x{width}-" in name
        counts = [H * (65 + H + 1) * (4 if model == "lstm" else 1) + 65 * (H + 1) for H in (width, width + 1)]
        assert counts[0] <= 25000 < counts[1]
    with pytest.raises(ValueError, match="model.parameter_budget=50: lstm has 398 parameters with one unit"):
        identity("model=lstm", "model.parameter_budget=50")


def test_a_parameter_budget_can_be_another_network():
    """As many parameters as one layer of 16 LSTM units, which are 4 * 16 * (65 + 16 + 1) + 65 * 17 = 6,353."""
    for model, width in (("lstm", 16), ("rnn", 37), ("gru", 19)):
        settled = settle(composed(f"model={model}", "model.layers=1", "model.parameter_budget=lstm 1x16"), data())
        assert (settled.model.hidden, size(settled.model)) == (width, f"1x{width}")
        assert asked_size(settled.model) == "1x(lstm 1x16)"
        gates = {"lstm": 4, "rnn": 1, "gru": 3}[model]
        assert [gates * H * (65 + H + 1) + 65 * (H + 1) <= 6353 for H in (width, width + 1)] == [True, False]
        plain = settle(composed(f"model={model}", "model.layers=1", f"model.hidden={width}"), data())
        assert identify(settled, data()) == identify(plain, data()) and asked_size(plain.model) == f"1x{width}"
    for wrong in ("lstm", "lstm 64", "lstm 0x64", "1x64"):
        with pytest.raises(ValueError, match="a network that has as many, as 'lstm 1x64'"):
            composed(f"model.parameter_budget={wrong}")
    with pytest.raises(
        ValueError, match="^model.parameter_budget=nothing 1x64: model=nothing: there is no such choice"
    ):
        settle(composed("model.parameter_budget=nothing 1x64"), data())


def test_the_machine_is_said_with_its_cores():
    assert re.fullmatch(r"\S.*, 3 of [1-9]\d* cores", machine(gpu=False, threads=3))


def test_a_gpu_is_said_with_how_it_multiplies(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    assert machine(gpu=True, threads=3) == "Some GPU, products in ieee"
