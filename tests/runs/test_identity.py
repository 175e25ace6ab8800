import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.datasets.space import Symbols
from pipeline.runs.identity import code_version, identify
from tests.conftest import composed

BASE = composed("model=lstm")
DATA = SimpleNamespace(card={"fingerprint": "f"}, space=Symbols(65))
SAME = [
    "paths.runs=elsewhere",
    "paths.prepared=else",
    "hydra/launcher=local_pool",
    "trainer.progress=bar",
    "trainer.threads=4",
    "trainer.devices=2",
    "trainer.nodes=3",
    "trainer.accelerator=cpu",
    "trainer.record_every=7",
    "trainer.checkpoint_every=9",
    "trainer.engine=reference",
    "tracking.uri=null",
    "evaluation.length=9",
    "trainer.clip_value=5",
    "fresh=true",
    "optimizer.lr=2e-3",
]
OTHER = [
    "model=gru",
    "model.hidden=129",
    "model.dropout=0.1",
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
    "scale=smoke",
    "trainer.seconds=9",
    "model.skip_connections=true",
    "model.learned_initial_state=true",
    "model.initial_state=0.1",
    "model.cell.recurrent_bias=true",
]


@pytest.mark.parametrize("override", SAME)
def test_what_does_not_change_the_result_does_not_change_the_identity(override):
    ours, base = identify(composed("model=lstm", override), DATA), identify(BASE, DATA)
    assert (ours.name, ours.hash) == (base.name, base.hash)


@pytest.mark.parametrize("override", OTHER)
def test_what_changes_the_result_changes_the_hash(override):
    assert identify(composed("model=lstm", override), DATA).hash != identify(BASE, DATA).hash


def test_other_data_are_another_run_and_another_seed_another_directory_of_one_hash():
    base = identify(BASE, DATA)
    assert identify(BASE, SimpleNamespace(card={"fingerprint": "g"}, space=Symbols(65))).hash != base.hash
    seeded = identify(composed("model=lstm", "seed=5"), DATA)
    assert seeded.hash == base.hash and seeded.name == base.name.removesuffix("-s0") + "-s5"
    assert base.directory == Path("runs/single") / f"shakespeare-lstm-1x128-rmsprop-{base.hash}-s0"


def test_the_hash_is_pinned():
    """A change here makes every run that people have start over: change it knowingly."""
    assert (
        identify(
            composed("model=gru", "data=linux", "scale=smoke"),
            SimpleNamespace(card={"fingerprint": "0" * 64}, space=Symbols(65)),
        ).name
        == "linux-gru-1x16-rmsprop-41a74813-s0"
    )


def test_code_version_is_gits():
    expected = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
    assert code_version()["commit"] == expected


def test_a_parameter_budget_settles_the_width():
    for model, width in (("rnn", 105), ("lstm", 47)):
        cfg = composed(f"model={model}", "model.parameter_budget=25000")
        name = identify(cfg, DATA).name
        assert cfg.model.hidden == width and f"-{model}-1x{width}-" in name
        counts = [H * (65 + H + 1) * (4 if model == "lstm" else 1) + 65 * (H + 1) for H in (width, width + 1)]
        assert counts[0] <= 25000 < counts[1]
    with pytest.raises(ValueError, match="model.parameter_budget=50: lstm has 398 parameters with one unit"):
        identify(composed("model=lstm", "model.parameter_budget=50"), DATA)
