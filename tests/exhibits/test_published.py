"""The text of published numbers, from what evaluate and train have written."""

import json

from omegaconf import OmegaConf

from pipeline.report import write_report
from pipeline.runs.directory import RunDirectory
from tests.conftest import composed
from tests.test_report import make_study


def rows(root) -> tuple[list[dict], str]:
    text = (write_report(root / "results").parent / "published.md").read_text()
    head, _, *lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(head, line, strict=True)) for line in lines], text


def published(*numbers, **more):
    return {"source": "A paper.", "measure": "nats", **more, "rows": list(numbers)}


def test_a_number_is_met_where_ours_is_no_worse_but_for_what_is_allowed(tmp_path):
    cells = [("linux", "lstm", 1, 8, 1.2), ("linux", "gru", 1, 8, 1.5)]
    ours = {group["model"]: group["measured"]["nats"]["mean"] for group in make_study(tmp_path, "s", cells)["groups"]}

    def verdicts(factor, **more):
        numbers = [{"data": "linux", "model": name, "size": "1x8", "value": ours[name] * factor} for name in ours]
        other = {"data": "latex", "model": "lstm", "size": "1x8", "value": 1.0}
        study = json.loads((tmp_path / "results" / "studies" / "s.json").read_text())
        study["published"] = published(*numbers, other, **more)
        (tmp_path / "results" / "studies" / "s.json").write_text(json.dumps(study))
        found, text = rows(tmp_path)
        assert "Tried were 2 of 3." in text and "Published: A paper. In nats/char." in text
        return [row["verdict"] for row in found]

    assert verdicts(1.001) == ["met", "met"] and verdicts(0.99) == ["missed", "missed"]
    assert verdicts(0.985, within=0.02) == ["met", "met"] and verdicts(0.975, within=0.02) == ["missed", "missed"]


def test_a_network_of_as_many_parameters_is_found_by_what_was_asked(tmp_path):
    made = make_study(tmp_path, "s", [("linux", "rnn", 1, 140, 1.2), ("linux", "rnn", 1, 64, 1.9)])
    made["published"] = published({"data": "linux", "model": "rnn", "size": "1x(lstm 1x64)", "value": 1.2})
    made["groups"][0]["asked_size"] = "1x(lstm 1x64)"
    (tmp_path / "results" / "studies" / "s.json").write_text(json.dumps(made))
    (row,), _ = rows(tmp_path)
    assert row["model"] == "rnn 1x(lstm 1x64)" and "-rnn-1x140-" in row["run"]


def test_what_it_cost_stands_beside_it(tmp_path):
    """Two seeds of 60 s and 3,000 steps on a split into two parts; the losses fall to what they were made with."""
    made = make_study(tmp_path, "s", [("linux", "lstm", 1, 8, 1.2)], seeds=(0, 1))
    made["published"] = published(
        {"data": "linux", "model": "lstm", "size": "1x8", "of": "transformer", "value": 1.6012}
    )
    made["groups"][0]["split"] = "90-10"
    (tmp_path / "results" / "studies" / "s.json").write_text(json.dumps(made))
    for run, hidden in zip(made["runs"], (8, 9)):
        directory = RunDirectory(run["directory"])
        directory.note(machine="a calculator, 1 of 2 cores")
        cfg = composed("model=lstm", f"model.hidden={hidden}", "schedule=cosine", "optimizer.lr=0.25")
        (directory.path / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    (row,), text = rows(tmp_path)
    loss, seconds = made["groups"][0]["measured"]["nats"], [run["seconds"] for run in made["runs"]]
    assert row["published"] == "1.6012 (transformer)" and row["ours"].startswith(f"{loss['mean']:.4f} ± ")
    assert row["difference"] == f"{loss['mean'] - 1.6012:+.4f}".replace("-", "−") and row["verdict"] == "met"
    assert (row["seeds"], row["steps"], row["machine"]) == ("2", "3,000", "a calculator, 1 of 2 cores")
    assert abs(float(row["hours"]) - sum(seconds) / 7200) < 0.006 and row["run"] == f"`{made['runs'][0]['name']}`"
    records = [json.loads(line) for line in RunDirectory(made["runs"][0]["directory"]).metrics.read_text().splitlines()]
    steps = [record["step"] for record in records if record.get("validation", 9) <= 1.6012]
    assert row["there after"].startswith(f"{steps[0]:,} steps, ") and steps[0] > records[0]["step"]
    shared = text.rsplit("```", 2)[1].split()
    assert {"model=lstm", "schedule=cosine", "optimizer.lr=0.25", "model.layers=1"} <= set(shared)
    assert not any(
        one.startswith(("model.hidden=", "trainer.threads=", "trainer.sample", "model.weight_drop")) for one in shared
    )


def test_a_search_of_a_study_says_the_words_that_it_was_given(tmp_path):
    made = make_study(tmp_path, "s", [("linux", "lstm", 1, 8, 1.2)])
    made["published"] = published({"data": "linux", "model": "lstm", "size": "1x8", "value": 1.2})
    path = tmp_path / "results" / "studies" / "s.json"
    for given, trained, evaluated in (
        (None, "study=s scale=laptop", "study=s scale=laptop"),
        ("study=s hydra/sweeper=optuna", "study=s hydra/sweeper=optuna", "-m study=s hydra/sweeper=optuna"),
    ):
        path.write_text(json.dumps(made | {"given": given}))
        commands = rows(tmp_path)[1].split("```")[1].strip().splitlines()
        assert commands == [f"python -m pipeline.train -m {trained}", f"python -m pipeline.evaluate {evaluated}"]
