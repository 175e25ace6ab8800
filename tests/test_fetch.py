"""`python -m pipeline.fetch` as a person runs it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline.command.settings import CONF

ROOT = Path(__file__).parents[1]


def run(verb: str, *choices: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if name != "PIPELINE_MIRROR"}
    command = [sys.executable, "-m", f"pipeline.{verb}", *choices]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=clean | environment)


def test_from_a_mirror_to_a_card(tmp_path):
    (tmp_path / "own.txt").write_text("my own text\n" * 9)
    choices = ["data=text", "data.name=own", f"data.path={tmp_path}/own.txt", f"paths.raw={tmp_path}/raw"]
    done = run("fetch", *choices)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "raw/own/files/own.txt").read_text() == "my own text\n" * 9
    assert {path.name for path in (tmp_path / "raw/own").iterdir()} == {"files", "card.json", "SHA256SUMS"}


def test_dvc_asks_once_code_that_states_versions_has_changed():
    """Whatever data may stand in params.yaml."""
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["fetch"]
    folders = [ROOT / one for one in stage["deps"] if "$" not in one]
    for choice in (CONF / "data").glob("*.yaml"):
        module = yaml.safe_load(choice.read_text()).get("_target_", "pipeline.corpora.corpus.Corpus").rpartition(".")[0]
        assert any((ROOT / f"{module.replace('.', '/')}.py").is_relative_to(folder) for folder in folders), choice


@pytest.mark.parametrize(
    "choices, environment, line",
    [
        (["data=text"], {}, "error: data=text needs data.path=<file or folder>"),
        (
            ["data=tiny_shakespeare"],
            {"PIPELINE_MIRROR": "/no/mirror"},
            "error: the mirror /no/mirror is no folder: correct PIPELINE_MIRROR or paths.mirror, or unset it",
        ),
    ],
)
def test_refusals_are_one_line(tmp_path, choices, environment, line):
    done = run("fetch", *choices, f"paths.raw={tmp_path}", **environment)
    assert done.returncode == 1 and done.stderr.strip() == line


def test_help_is_quick():
    began = time.perf_counter()
    assert run("fetch", "--help").returncode == 0
    assert time.perf_counter() - began < 5  # about 1 s on an idle machine
    loaded = subprocess.run(
        [sys.executable, "-c", "import pipeline.fetch, pipeline.prepare, sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert not {"torch", "numpy", "requests", "mlflow"} & set(loaded)


@pytest.mark.parametrize("verb", ["fetch", "prepare"])
def test_what_is_made_on_the_spot_is_not_fetched(verb):
    done = run(verb, "data=sine")
    assert (
        done.returncode == 1
        and done.stderr == "error: data=sine is made where it is used: there is nothing to fetch or prepare\n"
    )
