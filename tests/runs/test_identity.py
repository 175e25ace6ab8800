import subprocess
from pathlib import Path

import pytest

from pipeline.runs.identity import code_version, identify
from tests.conftest import composed

BASE = composed("model=lstm")
SAME = ["paths.runs=elsewhere", "paths.prepared=else", "hydra/launcher=local_pool", "trainer.progress=bar", "trainer.threads=4",
        "trainer.devices=2", "trainer.nodes=3", "trainer.accelerator=cpu", "trainer.record_every=7", "trainer.checkpoint_every=9",
        "tracking.uri=null", "evaluation.length=9", "trainer.clip_value=5", "fresh=true", "optimizer.lr=2e-3"]
OTHER = ["model=gru", "model.hidden=129", "model.dropout=0.1", "optimizer=adam", "optimizer.lr=0.003", "initialization=uniform",
         "schedule=cosine", "trainer.steps=7", "trainer.batch=25", "trainer.length=51", "trainer.clip_value=null",
         "trainer.loss=sum", "trainer.dtype=float64", "scale=smoke"]


@pytest.mark.parametrize("override", SAME)
def test_what_does_not_change_the_result_does_not_change_the_identity(override):
    ours, base = identify(composed("model=lstm", override), "f"), identify(BASE, "f")
    assert (ours.name, ours.hash) == (base.name, base.hash)


@pytest.mark.parametrize("override", OTHER)
def test_what_changes_the_result_changes_the_hash(override):
    assert identify(composed("model=lstm", override), "f").hash != identify(BASE, "f").hash


def test_other_data_are_another_run_and_another_seed_another_directory_of_one_hash():
    base = identify(BASE, "f")
    assert identify(BASE, "g").hash != base.hash
    seeded = identify(composed("model=lstm", "seed=5"), "f")
    assert seeded.hash == base.hash and seeded.name == base.name.removesuffix("-s0") + "-s5"
    assert base.directory == Path("runs/single") / f"shakespeare-lstm-1x128-rmsprop-{base.hash}-s0"


def test_the_hash_is_pinned():
    """A change here makes every run that people have start over: change it knowingly."""
    assert identify(composed("model=gru", "data=linux", "scale=smoke"), "0" * 64).name == "linux-gru-1x16-rmsprop-8be49605-s0"


def test_code_version_is_gits():
    expected = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    assert code_version()["commit"] == expected
