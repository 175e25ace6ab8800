"""hydra/sweeper=optuna: what is tried, what is told, and how a search goes on."""

import json
import math
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("optuna")

from pipeline import evaluate, report, train
from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF
from pipeline.runs import session
from pipeline.runs.recorder import Diverged
from tests.conftest import exit_code

SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.hidden=range(8,25,8)", "study.name=mine"]


@pytest.fixture
def lab(small, monkeypatch, capsys):
    """lab(verb, words...) does what `python -m pipeline.VERB` does; returns its output and its error, or None."""

    def lab(verb, *words: str) -> tuple[str, object]:
        error = exit_code(verb.main, [verb.__name__, *words, *small], monkeypatch)
        return capsys.readouterr().out, error

    return lab


@pytest.fixture
def search(lab):
    return lambda *words: lab(train, "-m", "hydra/sweeper=optuna", *words)


def smooth(cfg) -> float:
    return (math.log10(cfg.optimizer.lr) + 2.2) ** 2 + abs(cfg.model.hidden - 16) / 100 + cfg.seed


@pytest.fixture
def pretended(monkeypatch):
    """Runs that train nothing: pretended.value says their loss, .tried lists (model, hidden, rate, seed) of each."""

    class Pretended:
        value, tried = staticmethod(smooth), []

    def train_run(cfg):
        Pretended.tried.append((cfg.model.name, cfg.model.hidden, cfg.optimizer.lr, cfg.seed))
        return Pretended.value(cfg)

    Pretended.tried.clear()
    monkeypatch.setattr(session, "train_run", train_run)
    return Pretended


def test_it_finds_the_best_settings_and_tells_what_mattered(search, pretended):
    output, error = search(*SPACE, "hydra.sweeper.n_trials=12")
    assert error is None
    assert pretended.tried[0] == ("lstm", 16, 0.002, 0)  # the settings as they are otherwise
    assert len(pretended.tried) == 12
    rates = [rate for _, _, rate, _ in pretended.tried]
    assert 1e-4 <= min(rates) < 1e-3 and 1e-2 < max(rates) <= 1e-1
    assert {hidden for _, hidden, _, _ in pretended.tried} == {8, 16, 24}
    values = [smooth_of(rate) + abs(hidden - 16) / 100 for _, hidden, rate, _ in pretended.tried]
    assert statistics.median(values[6:]) < min(values[:6])  # once it learns
    assert f"best {min(values):.4f}" in output
    line = next(line for line in output.splitlines() if "fANOVA" in line)
    shares = dict(part.rsplit(" ", 1) for part in line.partition(": ")[2].split(", "))
    assert list(shares) == ["optimizer.lr", "model.hidden"] and int(shares["optimizer.lr"][:-1]) > 80


def test_a_killed_search_goes_on_as_if_it_had_not_been(search, pretended, tmp_path):
    space = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.hidden=interval(8,24)", "study.name=mine"]
    words = [*space, "hydra.sweeper.n_trials=8"]
    assert search(*space, "hydra.sweeper.n_trials=9")[1] is None
    whole = list(pretended.tried)
    assert {type(hidden) for _, hidden, _, _ in whole} == {int} and len({hidden for _, hidden, _, _ in whole}) > 4
    (tmp_path / "runs" / "mine" / "searches.journal").unlink()
    pretended.tried.clear()
    kills = {3, 7}

    def killed(cfg):
        if len(pretended.tried) in kills:
            kills.remove(len(pretended.tried))
            pretended.tried.pop()
            raise KeyboardInterrupt
        return smooth(cfg)

    pretended.value = killed
    for _ in range(2):
        assert search(*words)[1] == 130
        with (tmp_path / "runs" / "mine" / "searches.journal").open("a") as journal:
            journal.write('{"op_code":4,"wor')  # killed as it wrote
    assert search(*words)[1] is None and pretended.tried == whole[:8]
    assert search(*space, "hydra.sweeper.n_trials=9")[1] is None and pretended.tried == whole


def test_what_diverges_is_infinite_and_what_is_refused_is_tried_again(search, pretended):
    def value(cfg):
        if cfg.optimizer.lr > 0.02:
            raise Diverged("at step 3")
        if cfg.model.hidden == 24 and refuses:
            raise Refusal("no room")
        return smooth(cfg)

    pretended.value, refuses = value, True
    output, error = search(*SPACE, "hydra.sweeper.n_trials=8")
    assert "diverged" in output and "nan" not in output
    refused = [one for one in pretended.tried if one[1] == 24 and one[2] <= 0.02]
    assert refused and error == f"error: {len(refused)} trials were refused, the same command tries them again: no room"
    pretended.tried.clear()
    refuses = False
    output, error = search(*SPACE, "hydra.sweeper.n_trials=8")
    assert error is None and pretended.tried == refused


def test_commas_compare_each_at_its_best_rate(search, pretended, small):
    words = ["model=rnn,lstm", "seed=1,2", "study.name=fair", "hydra.sweeper.n_trials=4", "optimizer=adam"]
    output, error = search(*words)
    assert error is None
    rates = yaml.safe_load((CONF / "hydra" / "sweeper" / "optuna.yaml").read_text())["rates"]
    places = {}
    for model in ("rnn", "lstm"):
        tried = [one for one in pretended.tried if one[0] == model]
        assert [seed for *_, seed in tried] == [1, 2] * 4
        low, high = (times * 0.002 for times in rates.get(model, rates["default"]))
        assert tried[0][2] == 0.002
        places[model] = [math.log(rate / low) / math.log(high / low) for _, _, rate, _ in tried[2:]]
        assert all(0 <= place <= 1 for place in places[model])
    assert rates["rnn"] != rates["default"] and places["rnn"] == pytest.approx(places["lstm"], abs=1e-3)
    assert "4 trials" in output and "rnn, trial 4 of 4" in output
    best = min(smooth_of(rate) for _, _, rate, _ in pretended.tried) + 1.5
    assert f"best {best:.4f}" in output  # the mean over seeds


def smooth_of(rate: float) -> float:
    return (math.log10(rate) + 2.2) ** 2


def test_a_study_s_own_rates_give_way_to_the_search(search, pretended, small):
    output, error = search(
        "study=optimizers", "optimizer=sgd", "seed=0", "hydra.sweeper.n_trials=6", "data=text", "model=lstm"
    )
    assert error is None and len({rate for _, _, rate, _ in pretended.tried}) == 6
    assert not {rate for _, _, rate, _ in pretended.tried} & {0.01, 0.1}


def test_trained_configurations_are_told_and_shown(lab, search, small, run_in, tmp_path):
    first = run_in("study.name=mine").facts
    words = [*SPACE, "hydra.sweeper.n_trials=9"]
    output, error = search(*words, "dry_run=true")
    assert (
        error is None
        and "optimizer.lr from 0.0001 to 0.1 (logarithmic); model.hidden from 8 to 24 in steps of 8" in output
    )
    assert "9 trials, 0 done" in output and "9 runs would take" in output
    output, error = search(*words)
    assert error is None
    runs = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "runs" / "mine").glob("*/run.json")}
    assert len(runs) >= 7 and first["name"] in runs
    assert output.count("starts: ") == len(runs) - 1 and output.count("trial 9 of 9") == 1
    losses = {name: facts["validation"] for name, facts in runs.items()}
    (tmp_path / "runs" / "mine" / "searches.journal").unlink()
    again, error = search(*words)
    assert error is None and again.count("has finished already") == 9 and "starts: " not in again

    other = next(path for path in (tmp_path / "runs" / "mine").glob("*/run.json"))
    facts = json.loads(other.read_text())
    facts["code"]["sources"]["models.recurrent"] = "00000000"
    other.write_text(json.dumps(facts))
    again, error = search(*words, "fresh=code")  # forgets the trials; of their runs, those of other code
    assert error is None and again.count("starts: ") == 1 and again.count("trial 9 of 9") == 1
    assert f"{other.parent}  starts: " in again

    output, error = lab(evaluate, "-m", "hydra/sweeper=optuna", *words)
    assert error is None
    study = json.loads((tmp_path / "results" / "studies" / "mine.json").read_text())
    [found] = study["search"]
    assert {trial["value"] for trial in found["trials"]} == {*losses.values()} and len(found["trials"]) == 9
    [run] = study["runs"]  # only the best is measured on held-out data
    assert losses[Path(run["directory"]).name] == min(losses.values())
    settings = yaml.safe_load((Path(run["directory"]) / "config.yaml").read_text())
    best = next(trial for trial in found["trials"] if trial["number"] == found["best"])
    assert best["settings"] == {
        "optimizer.lr": settings["optimizer"]["lr"],
        "model.hidden": settings["model"]["hidden"],
    }
    assert sum(found["importances"].values()) == pytest.approx(1)
    assert lab(report)[1] is None
    page = (tmp_path / "results" / "report" / "index.html").read_text()
    assert "The best of each search" in page and "What mattered in each search" in page
    assert "validation loss, nats/char against optimizer.lr" in page


@pytest.mark.parametrize(
    "words, wanted",
    [
        (
            ["optimizer.lr=tag(log,interval(0,1))"],
            "optimizer.lr=tag(log,interval(0,1)): a logarithm asks for numbers above 0",
        ),
        (["optimizer.lr=interval(1,0.1)"], "optimizer.lr=interval(1,0.1): take interval(low,high) with low below high"),
        (["model.hidden=range(8,8)"], "model.hidden=range(8,8): has no number"),
        (["model.hidden=interval(-3,9)"], "model.hidden=-3: take a whole number from 1"),
        (
            ["model.hidden=interval(8,9.5)"],
            "model.hidden=interval(8,9.5): model.hidden takes whole numbers: take interval(8,9)",
        ),
        (["model.dropout=interval(0,1)"], "model.dropout=1.0: take a number from 0, below 1"),
        (["model.hidden=choice(8,abc)"], "model.hidden=abc: take a whole number from 1"),
        (
            ["model.hiden=range(8,32,8)"],
            "model.hiden=range(8,32,8): there is no such setting: did you mean",
        ),
        (["optimizer.lr=0.1"], "hydra/sweeper=optuna: there is nothing to search"),
        (["model=ngram"], "hydra/sweeper=optuna: there is nothing to search"),
        (["seed=interval(0,1)"], "seed=interval(0,1): every trial is trained with each seed"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: take a whole number from 1"),
        (["hydra.sweeper.timeout=0"], "hydra.sweeper.timeout=0: take a number above 0"),
        (["hydra.sweeper.rates.rnn=[2,1]"], "hydra.sweeper.rates.rnn=[2,1]: take [low, high]"),
        (["hydra.sweeper.n_trial=3"], "hydra.sweeper.n_trial=3: there is no such setting: did you mean"),
        (
            ["hydra/launcher=slurm", "hydra.launcher.wait=false"],
            "hydra.launcher.wait=false: a search waits",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_the_first_run(search, pretended, words, wanted):
    _, error = search(*words)
    assert str(error).startswith(f"error: {wanted}") and "\n" not in error and not pretended.tried


def test_without_the_search_an_interval_is_refused(lab, pretended):
    _, error = lab(train, "-m", "optimizer.lr=interval(0.1,1)")
    assert error.startswith(
        "error: optimizer.lr=interval(0.1,1): what lies between two numbers is searched: add hydra/sw"
    )
    _, error = lab(train, "optimizer.lr=interval(0.1,1)")
    assert error.startswith("error: optimizer.lr=interval(0.1,1): values to choose from: add -m")


def test_time_that_is_over_asks_for_no_more(search, pretended, monkeypatch):
    from pipeline.runs import search as searching

    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(searching, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    output, error = search(*SPACE, "hydra.sweeper.timeout=25")
    assert error is None and len(pretended.tried) == 2 and "timeout=25 is over: the same command goes on" in output


def test_models_that_have_rates_of_their_own_are_there():
    rates = yaml.safe_load((CONF / "hydra" / "sweeper" / "optuna.yaml").read_text())["rates"]
    assert {*rates} - {"default"} <= {path.stem for path in (CONF / "model").glob("*.yaml")}
