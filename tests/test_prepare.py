"""`python -m pipeline.prepare` as a person runs it, and every corpus of conf/data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from pipeline.corpora.corpus import Corpus, corpus_of
from pipeline.corpora.prepared import load

ROOT = Path(__file__).parents[1]
OF_A_PATH = ("text", "penn_treebank")  # of the user's own


def run(verb: str, *choices: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"pipeline.{verb}", *choices]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})


def test_from_text_to_arrays(tmp_path):
    (tmp_path / "own.txt").write_bytes(b"my own text\r\n" * 9)
    choices = [
        "data=text",
        "data.name=own",
        f"data.path={tmp_path}/own.txt",
        "data.split=95-5",
        "data.symbols=bytes",
        f"paths.raw={tmp_path}/raw",
        f"paths.prepared={tmp_path}/prepared",
    ]
    refused = run("prepare", *choices)
    assert refused.returncode == 1 and refused.stderr.startswith(f"error: nothing fetched in {tmp_path}/raw/own: run ")
    assert refused.stderr.count("\n") == 1
    for verb in ("fetch", "prepare"):
        done = run(verb, *choices)
        assert done.returncode == 0, done.stderr
    prepared = load(tmp_path / "prepared/own/bytes-95-5")
    assert (
        prepared.vocabulary.decode([*prepared.parts["train"], *prepared.parts["validation"]]) == "my own text\r\n" * 9
    )


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "conf/data").glob("*.yaml") if "base/corpus" in path.read_text())
)
def test_every_corpus_composes_and_lists_its_originals(name):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        data = compose("config", [f"data={name}"] + ["data.path=x"] * (name in OF_A_PATH)).data
    corpus = corpus_of(data)
    assert isinstance(corpus, Corpus) and corpus.folder == name and corpus.originals()
    assert str(corpus.directory).startswith(f"data/prepared/{name}/{data.symbols}-{data.split}")
    assert (ROOT / f"conf/data/{corpus.words().split()[0].removeprefix('data=')}.yaml").exists()
    assert corpus.words() == f"data={name}" + " data.path=x" * (name in OF_A_PATH)  # what is usual is not said
