"""A study from its sweep to its numbers."""

import csv
import json
import math
import statistics

import numpy as np
import pytest
import torch

from pipeline.corpora.prepared import load
from pipeline.files.whole import read_lines
from pipeline.models.load import load_network
from pipeline.runs.directory import RunDirectory
from tests.conftest import composed, prepared_text, words
from tests.test_train import command, finish


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study architectures at scale smoke on a small text, trained and evaluated by its two commands."""
    folder = tmp_path_factory.mktemp("study")
    overrides = [
        *prepared_text(folder, words(4000)),
        "study=architectures",
        "scale=smoke",
        "tracking.uri=null",
        "trainer.validate_every=5",
        "evaluation.length=12",
    ]
    code, out, err = finish(command(*overrides, verb="evaluate"))
    assert code == 1 and "has not finished: python -m pipeline.train -m study=architectures scale=smoke" in err
    code, out, err = finish(command("-m", *overrides))
    assert code == 0, err
    code, out, err = finish(command(*overrides, verb="evaluate"))
    assert code == 0, err
    return folder, overrides, json.loads((folder / "results" / "studies" / "architectures.json").read_text()), out


def test_every_cell_and_seed_is_there(study):
    _, _, result, _ = study
    assert sorted((run["model"], run["seed"]) for run in result["runs"]) == [
        (model, seed) for model in ("gru", "lstm", "rnn") for seed in (0, 1)
    ]
    assert [group["label"] for group in result["groups"]] == ["rnn 1x16", "lstm 1x16", "gru 1x16"]
    assert result["question"].startswith("Which of the three")


def test_test_loss_is_that_of_the_best_weights_read_symbol_by_symbol(study):
    folder, overrides, result, _ = study
    prepared = load(composed(*overrides).data.prepared)
    for run in result["runs"][::2]:
        network = load_network(RunDirectory(run["directory"]), prepared)
        text = np.asarray(prepared.test).astype(np.int64)
        with torch.no_grad():
            logits, _ = network(torch.from_numpy(text[:-1])[:, None], network.start(1))
        nats = -torch.log_softmax(logits[:, 0].double(), 1)[range(len(text) - 1), text[1:]].mean().item()
        assert run["test_loss"] == pytest.approx(nats, rel=1e-5)
        assert run["test_bits"] == pytest.approx(nats / math.log(2), rel=1e-5)
        assert run["test_symbols"] == len(text) - 1 and run["held_out"] == "test"
        validated = [
            record["validation"]
            for record in read_lines(RunDirectory(run["directory"]).metrics)
            if "validation" in record
        ]
        assert run["validation_loss"] == min(validated) and len(validated) == 4


def test_groups_hold_mean_and_sample_deviation_over_seeds(study):
    _, _, result, _ = study
    for group in result["groups"]:
        losses = [run["test_loss"] for run in result["runs"] if run["hash"] == group["hash"]]
        assert group["seeds"] == [0, 1]
        assert group["test_loss"] == {
            "mean": pytest.approx(sum(losses) / 2),
            "std": pytest.approx(statistics.stdev(losses)),
        }


def test_completions_go_on_from_the_prompts_of_the_data(study):
    _, overrides, result, _ = study
    for run in result["runs"]:
        assert [completion["prompt"] for completion in run["completions"]] == list(composed(*overrides).data.prompts)
        assert all(len(completion["text"]) == 12 for completion in run["completions"])


def test_dvc_finds_metrics_and_curves(study):
    folder, _, result, _ = study
    metrics = json.loads((folder / "results" / "metrics" / "architectures.json").read_text())
    assert metrics["gru 1x16"] == result["groups"][2]["test_loss"]["mean"]
    rows = list(csv.DictReader((folder / "results" / "curves" / "architectures.csv").open()))
    assert len(rows) == 6 * 4 and {row["run"] for row in rows} == {
        f"{model} 1x16 s{seed}" for model in ("rnn", "lstm", "gru") for seed in (0, 1)
    }


def test_the_table_names_the_best_first(study):
    _, _, result, out = study
    best = min(result["groups"], key=lambda group: group["test_loss"]["mean"])
    lines = out.splitlines()
    assert lines[-3].startswith(best["label"]) and f"{best['test_loss']['mean']:.4g}" in lines[-3]


def test_a_study_may_be_narrowed_on_the_command_line(study):
    folder, overrides, _, _ = study
    code, out, err = finish(
        command(*overrides, "model=gru", "seed=1", f"paths.results={folder}/narrow", verb="evaluate")
    )
    assert code == 0, err
    [run] = json.loads((folder / "narrow" / "studies" / "architectures.json").read_text())["runs"]
    assert (run["model"], run["seed"]) == ("gru", 1)


def test_what_is_no_study_is_refused():
    code, out, err = finish(command(verb="evaluate"))
    assert (code, err) == (1, "error: study=single is no study: choose one of conf/study, e.g. study=architectures\n")


def test_a_run_that_diverges_is_a_result_of_its_study(tmp_path):
    overrides = [
        *prepared_text(tmp_path, words(4000)),
        "study=architectures",
        "scale=smoke",
        "tracking.uri=null",
        "optimizer=sgd",
        "optimizer.lr=1e6",
        "trainer.clip_value=null",
        "model=rnn,lstm",
        "seed=0",
    ]
    code, out, err = finish(command("-m", *overrides))
    assert code == 0 and "diverged: text-rnn-1x16" in out
    code, out, err = finish(command("-m", *overrides))
    assert code == 0 and "has diverged already" in out
    code, out, err = finish(command(*[word.replace("rnn,lstm", "rnn") for word in overrides], verb="evaluate"))
    assert code == 0 and "diverged" in out, err
    result = json.loads((tmp_path / "results" / "studies" / "architectures.json").read_text())
    [group] = result["groups"]
    assert group["diverged"] == 1 and group["test_loss"] == {"mean": None, "std": None}
    assert finish(command(*overrides[:7], verb="report"))[0] == 0
    assert "1 diverged" in (tmp_path / "results" / "report" / "index.html").read_text()


def test_two_part_splits_are_tested_on_their_held_out_part(tmp_path):
    overrides = [
        *prepared_text(tmp_path, words(4000)),
        "data.split=90-10",
        "study=corpora",
        "scale=smoke",
        "tracking.uri=null",
        "data=text",
    ]
    code, out, err = finish(command(*overrides, verb="prepare"))
    assert code == 0, err
    for arguments in (("train", "-m"), ("evaluate",)):
        code, out, err = finish(command(*arguments[1:], *overrides, verb=arguments[0]))
        assert code == 0, err
    [run] = json.loads((tmp_path / "results" / "studies" / "corpora.json").read_text())["runs"]
    assert (run["split"], run["held_out"]) == ("90-10", "validation")


def group(model, mean, std, seeds=4):
    return {"model": model, "test_loss": {"mean": mean, "std": std}, "seeds": list(range(seeds))}


@pytest.mark.parametrize(
    "relation, losses, verdict",
    [
        ("better", (1.50, 1.60), "holds"),
        ("better", (1.50, 1.51), "undecided"),
        ("better", (1.60, 1.50), "contradicted"),
        ("no_worse", (1.50, 1.60), "holds"),
        ("no_worse", (1.51, 1.50), "holds"),
        ("no_worse", (1.60, 1.50), "contradicted"),
    ],
)
def test_a_claim_is_judged_by_twice_the_standard_error(relation, losses, verdict):
    from pipeline.evaluate import check

    claim = {"claim": "c", "source": "s", "model": "a", "than": "b", "relation": relation}
    found = check(claim, [group("a", losses[0], 0.03), group("b", losses[1], 0.04)])
    assert found["verdict"] == verdict
    assert found["difference"] == pytest.approx(losses[1] - losses[0]) and found["error"] == pytest.approx(0.025)
    assert check(claim, [group("a", 1.5, None, 1), group("b", 1.6, 0.1)])["verdict"] == "not tried"
    assert check(claim, [group("a", 1.5, 0.1)])["verdict"] == "not tried"
    assert check(claim, [group("a", 1.5, 0.1), group("b", None, None)])["verdict"] == "holds"
    assert check(claim, [group("a", None, None), group("b", 1.5, 0.1)])["verdict"] == "contradicted"
    assert check(claim, [group("a", None, None), group("b", None, None)])["verdict"] == "not tried"
