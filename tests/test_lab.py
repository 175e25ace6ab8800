"""The console command, and what lets shells complete its words."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from pipeline.completion import SCRIPTS, candidates
from pipeline.lab import main
from tests.conftest import ROOT

LAB = [sys.executable, "-m", "pipeline.lab"]


def test_it_says_what_verbs_there_are_and_starts_them(monkeypatch, capsys):
    started = []
    monkeypatch.setattr(os, "execv", lambda program, words: started.append([program, *words]))

    def lab(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["lab", *words])
        main()

    lab()
    assert "lab VERB" in capsys.readouterr().out and not started
    lab("train", "-m", "seed=0,1")
    lab("status")
    python = sys.executable
    assert started == [
        [python, python, "-m", "pipeline.train", "-m", "seed=0,1"],
        [python, python, "-m", "slurm.status"],
    ]
    with pytest.raises(SystemExit, match="^error: trian: there is no such verb: did you mean train?"):
        lab("trian")


def test_status_needs_no_cluster(tmp_path):
    for name, facts in {"here": {"status": "finished", "validation": 1.25}, "later": {"status": "stopped"}}.items():
        (tmp_path / "single" / name).mkdir(parents=True)
        units = {"loss": "nats/char", "element": "char", "digits": ".4f", "also": {}, "logarithmic": False}
        facts |= dict(name=name, study="single", hash="0", seed=0, created="", code={"commit": None, "dirty": None})
        facts |= dict(process=1, data="", parameters=1, units=units, mlflow_run_id=None)
        (tmp_path / "single" / name / "run.json").write_text(json.dumps(facts))
    done = subprocess.run([*LAB, "status", f"paths.runs={tmp_path}"], cwd=ROOT, capture_output=True, text=True)
    assert sorted(done.stdout.splitlines()) == [
        "1 finished, 1 stopped",
        "here   finished   validation 1.2500",
        "later  stopped    saved at no step yet; the same command goes on",
    ]


@pytest.mark.parametrize(
    "line, found",
    {
        "lab tr": ["train "],
        "lab train mod": ["model.", "model="],
        "lab train  model=mrn": ["model=mrnn", "model=mrnn_full"],
        "lab train model=hmm model.s": ["model.smoothing=", "model.states="],
        "lab train -m seed=1 model=rnn,mrnn,gru_": ["model=rnn,mrnn,gru_reset_after"],
        "lab train trainer.dtype=": ["trainer.dtype=float32", "trainer.dtype=float64"],
        "lab train fresh=t": ["fresh=true"],
        "lab train trainer.sample.a": ["trainer.sample.at="],
        "lab train hydra/launcher=s": ["hydra/launcher=slurm"],
        "lab train model=typo optim": ["optimizer="],
        "lab train model=typo trainer.engine=": [],
        "lab status study=zo": ["study=zoo"],
        "lab sample te": ["temperature="],
        "lab completion z": ["zsh"],
        "lab typo mod": [],
    }.items(),
)
def test_how_words_may_go_on(line, found):
    assert candidates(line) == found


def test_runs_are_known_to_sample(tmp_path, monkeypatch):
    (tmp_path / "runs" / "zoo" / "text-gru").mkdir(parents=True)
    (tmp_path / "runs" / "zoo" / "text-gru" / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert candidates("lab sample run=") == ["run=runs/zoo/text-gru"]


# A shell that is not asked by a person lacks what its completion gives to functions.
SHELLS = {
    "bash": 'COMP_LINE="lab train model=lstm_f"; COMP_POINT=${#COMP_LINE}; _lab lab; printf "%s\\n" "${COMPREPLY[@]}"',
    "zsh": "words=(lab train model=lstm_f); CURRENT=3; _lab",
}
STUBS = {"bash": "", "zsh": 'compdef() {}; compadd() { print -l -- "${(@P)@[-1]}"; };'}


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_take_it(tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    (tmp_path / "lab").write_text(f'#!/bin/sh\ncd {ROOT} && exec {" ".join(LAB)} "$@"\n')
    (tmp_path / "lab").chmod(0o755)
    words = [shell, "-c", f'{STUBS[shell]}\neval "$(lab completion {shell})"\n{SHELLS[shell]}']
    done = subprocess.run(words, env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True)
    before = {"bash": "", "zsh": "model="}[shell]  # where bash breaks words at "="
    assert done.stdout.decode() == f"{before}lstm_fgr\n{before}lstm_forget_bias\n" and not done.stderr
    assert shell in SCRIPTS
