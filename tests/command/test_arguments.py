"""KEY=VALUE words of verbs that compose no configuration."""

import re
import subprocess
import sys

import pytest

from pipeline.command.arguments import read_arguments
from pipeline.command.refusal import Refusal
from tests.conftest import ROOT

DEFAULTS = {"prompt": "", "length": 500, "temperature": 0.7}


def test_arguments_are_key_value_words():
    found = read_arguments(["prompt=a=b, c", "length=7", "--follow"], DEFAULTS, ["--follow"])
    assert found == {"prompt": "a=b, c", "length": 7, "temperature": 0.7, "follow": True}
    assert read_arguments([], DEFAULTS, ["--follow"]) == {**DEFAULTS, "follow": False}


@pytest.mark.parametrize(
    "word, message",
    [
        ("lenght=3", "'lenght=3': give key=value with a key of prompt, length, temperature, or --follow (and quotes"),
        ("hello", "'hello': give key=value"),
        ("--folow", "'--folow': give key=value"),
        ("length=3.5", "length=3.5: take a whole number"),
        ("temperature=hot", "temperature=hot: take a number"),
    ],
)
def test_other_words_are_refused(word, message):
    with pytest.raises(Refusal, match=f"^{re.escape(message)}"):
        read_arguments([word], DEFAULTS, ["--follow"])


@pytest.mark.parametrize("module", ["pipeline.sample", "slurm.logs"])
def test_each_such_verb_refuses_in_one_line_and_has_help(module):
    def said(word: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", module, word], cwd=ROOT, capture_output=True, text=True)

    refused, helped = said("runs"), said("--help")
    assert refused.returncode == 1 and refused.stderr.startswith("error: 'runs': give key=value with a key of run, ")
    assert refused.stderr.count("\n") == 1 and not refused.stdout
    assert helped.returncode == 0 and "Examples:\n" in helped.stdout


def test_a_reader_that_wants_no_more_is_no_defect(tmp_path):
    folder = tmp_path / ".slurm" / "zoo"
    folder.mkdir(parents=True)
    (folder / "7.json").write_text('{"7": "/r/gru"}')
    (folder / "7_0_log.out").write_text("a line\n" * 100000)
    command = f"{sys.executable} -m slurm.logs runs={tmp_path} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "a line\n", "")
