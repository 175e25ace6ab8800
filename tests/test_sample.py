import math
import os
import re
import subprocess
import sys

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.decoding.sampling import draw_symbols
from pipeline.runs.directory import find_run
from pipeline.sample import sample
from tests.conftest import ROOT, trained


@pytest.fixture
def run(run_in):
    return run_in("trainer.steps=4")


def arguments(run, **given):
    return {"run": str(run.path), "prompt": "", "length": 30, "temperature": 0.7, "seed": 0, "runs": "runs"} | given


def test_prompt_and_length_symbols_come_out(run, capsys):
    sample(**arguments(run, prompt="the king, ", length=25))
    out = capsys.readouterr().out
    assert out.startswith("the king, ") and len(out) == len("the king, ") + 25 + 1


def test_the_seed_decides(run, capsys):
    texts = []
    for seed in (1, 1, 2):
        sample(**arguments(run, seed=seed))
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_unknown_symbols_are_named_and_an_empty_or_long_prompt_works(run, capsys):
    sample(**arguments(run, prompt="Ω the Ж Ω"))
    captured = capsys.readouterr()
    assert "has never seen 'ΩЖ': read as unknown" in captured.err and captured.out.startswith("Ω the Ж Ω")
    for prompt in ("", "the king " * 2000):
        sample(**arguments(run, prompt=prompt))
        captured = capsys.readouterr()
        assert captured.err == "" and len(captured.out) == len(prompt) + 31


@pytest.mark.parametrize(
    "given, message",
    [
        ({"length": -1}, "length=-1"),
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"seed": -1}, "seed=-1: take a whole number from 0"),
        ({"seed": 2**70}, f"seed={2**70}: take"),
    ],
)
def test_nonsense_is_refused(run, given, message):
    with pytest.raises(Refusal, match=re.escape(message)):
        sample(**arguments(run, **given))


def test_a_run_is_found_by_path_by_part_of_its_name_and_by_being_the_last(run, run_in, tmp_path):
    other = run_in("trainer.steps=4", "model=gru")
    runs = tmp_path / "runs"
    assert find_run(str(run.path), runs) == run.path
    assert find_run("lstm", runs) == run.path
    assert find_run("", runs) == other.path
    with pytest.raises(Refusal, match="run=text means 2 runs"):
        find_run("text", runs)
    with pytest.raises(Refusal, match="run=mut1: no run is called so"):
        find_run("mut1", runs)
    with pytest.raises(Refusal, match="holds no runs: train one"):
        find_run("", tmp_path / "nowhere")


def test_a_series_is_forecast_and_takes_no_prompt(tmp_path, capsys):
    run = trained(
        "data=sunspots", "model=delay_taps", "scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}/runs"
    )
    capsys.readouterr()
    sample(**arguments(run, length=40))
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["observed", "forecast"]
    for kind in ("observed", "forecast"):
        assert sum(len(line.split()[1]) for line in lines if line.startswith(kind)) == 40
    sample(**arguments(run, length=40, temperature=2.0, seed=5))
    assert capsys.readouterr().out == out  # it foretells means
    with pytest.raises(Refusal, match="prompt='1700': sunspots is written without a prompt: leave it out"):
        sample(**arguments(run, prompt="1700"))


def test_on_the_command_line(run):
    def said(*words):
        return subprocess.run(
            [sys.executable, "-m", "pipeline.sample", *words], cwd=ROOT, capture_output=True, text=True
        )

    done = said(f"run={run.path}", "prompt=the king", "length=5")
    assert done.returncode == 0 and len(done.stdout) == len("the king") + 5 + 1
    last = said(f"runs={run.path.parent.parent}", "prompt=the king", "length=5")
    assert (last.stdout, last.stderr) == (done.stdout, f"{run.path}, the run trained last:\n")
    done = said("prompt")
    assert (
        done.returncode == 1
        and done.stderr.startswith("error: 'prompt': give key=value")
        and done.stderr.count("\n") == 1
    )
    assert "temperature" in said("--help").stdout


class Fixed:
    """A network that answers with the same logits whatever it has read."""

    training, device = False, "cpu"

    def __init__(self, *logits: float):
        self.logits = torch.tensor(logits)

    def eval(self):
        return self

    train = start = stepper = lambda self, *_: self

    def __call__(self, read):
        return self.logits


@pytest.mark.parametrize("temperature", [5e-324, 1e-320, 1e-300, 1e-9])
def test_a_temperature_next_to_0_takes_the_likeliest(temperature):
    drawn = draw_symbols(Fixed(-1e30, 2.0, 3.0, -math.inf), [0], temperature, 50, torch.Generator().manual_seed(0))
    assert set(drawn) == {2}


def test_equal_symbols_are_drawn_at_every_temperature_and_a_high_one_knows_nothing():
    for temperature in (5e-324, 1e-9, 1.0):
        drawn = draw_symbols(Fixed(3.0, 3.0, 1e-9), [0], temperature, 400, torch.Generator().manual_seed(0))
        assert {0, 1} <= set(drawn)
    drawn = list(draw_symbols(Fixed(0.0, 700.0), [0], 1e308, 2000, torch.Generator().manual_seed(0)))
    assert sum(drawn) == pytest.approx(1000, abs=100)


def test_temperature_divides_the_logits():
    drawn = list(draw_symbols(Fixed(0.0, 2.0), [0], 2.0, 20_000, torch.Generator().manual_seed(0)))
    assert sum(drawn) / len(drawn) == pytest.approx(math.e / (1 + math.e), abs=0.01)


def said(*words, **more):
    return subprocess.run([sys.executable, "-m", "pipeline.sample", *words], cwd=ROOT, capture_output=True, **more)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [{}, {"PYTHONIOENCODING": "ascii"}, ASCII])
def test_what_is_no_utf8_or_cannot_be_shown_is_replaced(run, environment):
    done = said(f"run={run.path}".encode(), b"prompt=\xff\xce\xa9 the", b"length=3", env=os.environ | environment)
    shown = "�Ω the" if not environment else "?? the"
    assert done.returncode == 0 and done.stdout.decode().startswith(shown), done.stderr
    assert b"warning: text has never seen " in done.stderr and done.stderr.count(b"\n") == 1


def test_damaged_runs_are_refused_in_a_line(run, tmp_path):
    (run.path / "run.json").write_text("{bad")
    for words, message in (
        ((f"runs={tmp_path}/runs",), f"error: {run.path}/run.json is damaged ("),
        ((f"run={run.path}",), f"error: {run.path}/run.json is damaged ("),
        ((f"run={'x' * 5000}",), "error: "),
    ):
        done = said(*words)
        err = done.stderr.decode()
        assert done.returncode == 1 and err.startswith(message) and err.count("\n") == 1, err
    (run.path / "config.yaml").unlink()
    with pytest.raises(Refusal, match=f"{run.path}/config.yaml is missing: train the run again with fresh=true"):
        sample(**arguments(run))
