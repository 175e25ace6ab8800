"""A study from its sweep to its numbers."""

import csv
import json
import math
import re
import shutil
import statistics

import numpy as np
import pytest
import torch

from pipeline.datasets.data import load_data
from pipeline.evaluate import evaluate_run
from pipeline.files.whole import read_lines
from pipeline.probes.prediction import Prediction
from pipeline.runs.building import load_network
from pipeline.runs.directory import RunDirectory
from pipeline.runs.run import Run
from tests.conftest import composed, prepared_text, words
from tests.test_train import command, finish

once = pytest.mark.xdist_group("study")  # what asks for `study` runs where it was made


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


@once
def test_every_cell_and_seed_is_there(study):
    _, _, result, _ = study
    assert sorted((run["model"], run["seed"]) for run in result["runs"]) == [
        (model, seed) for model in ("gru", "lstm", "rnn") for seed in (0, 1)
    ]
    assert [group["label"] for group in result["groups"]] == ["rnn 1x16", "lstm 1x16", "gru 1x16"]
    assert result["question"].startswith("Which of the three")


@once
def test_test_loss_is_that_of_the_best_weights_read_symbol_by_symbol(study):
    folder, overrides, result, _ = study
    data = load_data(composed(*overrides).data)
    for run in result["runs"][::2]:
        network = load_network(RunDirectory(run["directory"]), data)
        text = np.asarray(data.parts["test"]).astype(np.int64)
        with torch.no_grad():
            logits, _ = network(torch.from_numpy(text[:-1])[:, None], network.start(1))
        nats = -torch.log_softmax(logits[:, 0].double(), 1)[range(len(text) - 1), text[1:]].mean().item()
        found = run["probes"]["prediction"]
        assert found["nats"] == pytest.approx(nats, rel=1e-5) and found["bits"] == pytest.approx(
            nats / math.log(2), rel=1e-5
        )
        right = (logits[:, 0].argmax(1).numpy() == text[1:]).mean()
        assert found["right"] == pytest.approx(right, abs=3e-3)
        assert (found["asked"], found["part"], found["unknown"]) == (len(text) - 1, "test", 0)
        assert run["measured"] == {key: found.get(key) for key in Prediction.measures}
        validated = [
            record["validation"]
            for record in read_lines(RunDirectory(run["directory"]).metrics)
            if "validation" in record
        ]
        assert run["validation_loss"] == min(validated) and len(validated) == 4


@once
def test_groups_hold_mean_and_sample_deviation_over_seeds(study):
    _, _, result, _ = study
    for group in result["groups"]:
        losses = [run["measured"]["nats"] for run in result["runs"] if run["hash"] == group["hash"]]
        assert (group["seeds"], group["ranked_by"], group["diverged"]) == ([0, 1], "nats", 0)
        assert set(group["measured"]) == {"nats", "bits", "right"}
        assert group["measured"]["nats"] == {
            "mean": pytest.approx(sum(losses) / 2),
            "std": pytest.approx(statistics.stdev(losses)),
        }
        assert group["by_seed"]["nats"] == {str(seed): loss for seed, loss in enumerate(losses)}


@once
def test_what_a_probe_doubts_of_a_run_is_kept_with_it(study, monkeypatch):
    _, overrides, result, _ = study
    found = {"nats": 1.5, "bits": 2.0, "doubts": {"nats": "moves by 0.2"}}
    monkeypatch.setattr(Prediction, "measure", lambda self, network, data, seed: found)
    cfg, run = composed(*overrides), RunDirectory(result["runs"][0]["directory"])
    evaluated = evaluate_run(Run(run, cfg), "rnn", "text")
    assert evaluated["doubts"] == {"nats": "moves by 0.2"} and evaluated["measured"]["nats"] == 1.5
    found.pop("doubts")
    assert evaluate_run(Run(run, cfg), "rnn", "text")["doubts"] == {}


@once
def test_completions_go_on_from_the_prompts_of_the_data(study):
    _, overrides, result, _ = study
    for run in result["runs"]:
        completions = run["probes"]["completions"]["completions"]
        assert [completion["prompt"] for completion in completions] == list(composed(*overrides).data.prompts)
        assert all(len(completion["text"]) == 12 for completion in completions)


@once
def test_what_was_read_is_what_the_record_says(study):
    _, _, result, _ = study
    for run in result["runs"]:
        last = read_lines(RunDirectory(run["directory"]).metrics)[-1]
        assert (run["steps"], run["targets"], run["seconds"]) == (last["step"], last["targets"], last["seconds"])
        assert run["targets_per_second"] == pytest.approx(last["targets"] / last["seconds"])
        assert run["units"]["loss"] == "nats/char" and run["status"] == "finished" and run["split"] == "80-10-10"


@once
def test_the_results_say_how_they_are_measured_and_shown(study):
    _, _, result, _ = study
    assert result["probes"] == {
        "prediction": {"_target_": "pipeline.probes.prediction.Prediction"},
        "completions": {"_target_": "pipeline.probes.completions.Completions", "length": 12, "temperature": 0.7},
    }
    assert list(result["measures"]) == ["nats", "bits", "perplexity", "per_character", "rmse", "right"]
    assert result["measures"]["right"] == {"unit": "", "digits": ".1%", "better": "high", "title": ""}


@once
def test_dvc_finds_metrics_and_curves(study):
    folder, _, result, _ = study
    metrics = json.loads((folder / "results" / "metrics" / "architectures.json").read_text())
    assert metrics["gru 1x16"] == result["groups"][2]["measured"]["nats"]["mean"]
    rows = list(csv.DictReader((folder / "results" / "curves" / "architectures.csv").open()))
    assert [int(row["targets"]) for row in rows[:4]] == [4 * 16 * step for step in (5, 10, 15, 20)]
    assert len(rows) == 6 * 4 and {row["run"] for row in rows} == {
        f"{model} 1x16 s{seed}" for model in ("rnn", "lstm", "gru") for seed in (0, 1)
    }


@once
def test_the_table_names_the_best_first(study):
    _, _, result, out = study
    best = min(result["groups"], key=lambda group: group["measured"]["nats"]["mean"])
    heads = ["parameters", "nats/char", "bits/char", "right", "targets/s", "seeds"]
    lines = out.splitlines()
    first = lines[[line.split() for line in lines].index(heads) + 1]
    assert first.startswith(best["label"]) and f" {best['measured']['nats']['mean']:.3f} ± " in first


@once
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
    assert (code, err) == (
        1,
        "error: study=single is no study: choose one of conf/study, e.g. study=architectures, or repeat the overrides "
        "of a sweep with -m\n",
    )


def test_any_sweep_is_a_study(tmp_path):
    sweep = ["-m", "model=rnn,gru", "seed=0,1", "study.name=mine"]
    rest = [*prepared_text(tmp_path, words(4000)), "scale=smoke", "tracking.uri=null", "trainer.steps=4"]
    code, out, err = finish(command(*sweep, *rest, "dry_run=true", "hydra/launcher=local_pool"))
    assert code == 0 and out.count("would start: 4 steps of 4 sequences") == 4, err
    assert "4 runs would take less than a minute" in out and not list(tmp_path.glob("runs/*/*/run.json"))

    code, out, err = finish(command(*sweep, *rest))
    assert code == 0, err
    runs = [json.loads(file.read_text()) for file in tmp_path.glob("runs/mine/*/run.json")]
    [line] = [line for line in out.splitlines() if line.startswith("gru 1x16 ")]
    losses = [run["validation"] for run in runs if "-gru-" in run["name"]]
    assert line.split()[2:] == [
        f"{[run['parameters'] for run in runs if '-gru-' in run['name']][0]:,}",
        f"{statistics.mean(losses):.4f}",
        "±",
        f"{statistics.stdev(losses):.4f}",
        "2",
    ]
    again = next(line for line in out.splitlines() if "lab evaluate" in line)
    assert again.startswith("on held-out data: lab evaluate -m model=rnn,gru seed=0,1 study.name=mine")

    code, out, err = finish(command(*sweep, *rest, verb="evaluate"))
    assert code == 0, err
    found = json.loads((tmp_path / "results" / "studies" / "mine.json").read_text())
    assert [group["label"] for group in found["groups"]] == ["rnn 1x16", "gru 1x16"]
    assert found["question"].startswith("How do the runs of model=rnn,gru ") and found["given"].startswith("model=rnn")


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
    assert group["diverged"] == 1 and group["measured"] == {"nats": {"mean": None, "std": None}}
    assert finish(command(*overrides[:7], verb="report"))[0] == 0
    assert "1 diverged" in (tmp_path / "results" / "report" / "index.html").read_text()


def test_two_part_splits_are_tested_on_their_held_out_part(tmp_path):
    overrides = [
        *prepared_text(tmp_path, words(4000)),
        "data.split=90-10",
        "study=gallery",
        "scale=smoke",
        "tracking.uri=null",
        "data=text",
    ]
    code, out, err = finish(command(*overrides, verb="prepare"))
    assert code == 0, err
    for arguments in (("train", "-m"), ("evaluate",)):
        code, out, err = finish(command(*arguments[1:], *overrides, verb=arguments[0]))
        assert code == 0, err
    [run] = json.loads((tmp_path / "results" / "studies" / "gallery.json").read_text())["runs"]
    assert (run["split"], run["probes"]["prediction"]["part"]) == ("90-10", "validation")


def carried_out(overrides, *verbs):
    """What the last of these verbs prints."""
    for verb in verbs:
        code, out, err = finish(command(*["-m"] * (verb == "train"), *overrides, verb=verb))
        assert code == 0, err
    return out


def test_a_series_is_foretold_and_its_models_are_ranked_by_their_error(tmp_path):
    overrides = ["study=signals", "scale=smoke", "data=sunspots", "model=lds", "seed=0", "tracking.uri=null"]
    overrides += [f"paths.runs={tmp_path}/runs", f"paths.results={tmp_path}/results", "evaluation.length=7"]
    carried_out(overrides, "train", "evaluate")
    carried_out(overrides[-3:-1], "report")
    result = json.loads((tmp_path / "results" / "studies" / "signals.json").read_text())
    assert list(result["probes"]) == ["prediction", "forecast"] and result["probes"]["forecast"]["length"] == 7
    for run in result["runs"]:
        data = load_data(RunDirectory(run["directory"]).config().data)
        found = run["probes"]["forecast"]
        assert np.allclose(found["observed"], data.part("test")[0][:7]) and np.isfinite(found["forecast"]).all()
        assert run["measured"]["rmse"] > 0 and run["units"]["loss"] == "squared error"
    assert {group["ranked_by"] for group in result["groups"]} == {"rmse"}
    page = (tmp_path / "results" / "report" / "index.html").read_text()
    assert "Forecasts of sunspots" in page and "What it wrote as training went" in page
    assert re.search("forecast [▁-█]{10}", page)


def test_a_study_may_ask_more_than_its_data(tmp_path):
    """Bits carried, by the data's probe; completions, of which these data know no beginnings, by none."""
    overrides = [
        "study=memory_bits",
        "scale=smoke",
        "data=copying",
        "model=hmm",
        "data.message=1",
        "seed=0",
        "tracking.uri=null",
    ]
    overrides += [f"paths.runs={tmp_path}/runs", f"paths.results={tmp_path}/results"]
    out = carried_out([*overrides, "+probe@study.probes=[completions]"], "train", "evaluate")
    result = json.loads((tmp_path / "results" / "studies" / "memory_bits.json").read_text())
    assert list(result["probes"]) == ["prediction", "memory", "completions"]
    for run in result["runs"]:
        assert list(run["probes"]) == ["prediction", "memory"]
        found = run["probes"]["memory"]
        assert found["bound"] == math.log2(int(run["size"])) and found["message"] == 1
        assert run["measured"]["carried"] == found["carried"] <= found["bound"]
    assert "bits carried" in out


@once
def test_a_run_that_cannot_be_evaluated_costs_no_other_its_results(study, tmp_path):
    folder, overrides, _, _ = study
    shutil.copytree(folder / "runs", tmp_path / "runs")
    places = [f"paths.runs={tmp_path}/runs", f"paths.results={tmp_path}/results"]
    runs = [RunDirectory(path) for path in sorted(tmp_path.glob("runs/*/text-gru-*"))]
    runs[0].best.write_bytes(bytes(1000))
    code, out, err = finish(command(*overrides, "model=gru", *places, verb="evaluate"))
    [warning] = [line for line in err.splitlines() if not line.startswith("evaluate:")]
    reason = f"{runs[0].best} is damaged (torch cannot read it, UnpicklingError): train the run again with fresh=true"
    said = "error: 1 of 2 runs could not be evaluated, the results are those of the others: "
    assert (code, warning) == (1, f"{said}{runs[0].path}: {reason}")
    result = json.loads((tmp_path / "results" / "studies" / "architectures.json").read_text())
    assert [(run["status"], run.get("reason")) for run in result["runs"]] == [("failed", reason), ("finished", None)]
    assert result["runs"][0]["measured"] == {} and result["runs"][1]["measured"]["nats"] > 0
    [group] = result["groups"]
    assert (group["seeds"], group["diverged"], group["measured"]["nats"]["std"]) == ([1], 0, None)
    rows = csv.DictReader((tmp_path / "results" / "curves" / "architectures.csv").open())
    assert {row["run"] for row in rows} == {"gru 1x16 s1"}
    code, out, err = finish(command(*places, verb="report"))
    page = (tmp_path / "results" / "report" / "index.html").read_text()
    assert code == 0 and "Runs that were not evaluated" in page and str(runs[0].best) in page, err

    runs[1].metrics.write_text("noise\n")
    before = {path: path.read_bytes() for path in tmp_path.glob("results/*/*")}
    code, out, err = finish(command(*overrides, "model=gru", *places, verb="evaluate"))
    assert code == 1 and err.splitlines()[-1].startswith(
        f"error: no run of study=architectures can be evaluated: {runs[0].path}: "
    )
    assert {path: path.read_bytes() for path in tmp_path.glob("results/*/*")} == before


@once
def test_what_cannot_take_the_results_is_refused_before_the_work(study, tmp_path):
    folder, overrides, _, _ = study
    (tmp_path / "file").touch()
    code, out, err = finish(command(*overrides, "model=gru", f"paths.results={tmp_path}/file", verb="evaluate"))
    assert code == 1 and err.count("\n") == 1
    assert err.startswith(f"error: {tmp_path}/file/metrics: Not a directory: name a folder that can be written to (")
