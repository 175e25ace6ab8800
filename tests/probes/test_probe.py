"""What a probe needs to be one: a Python file and a YAML file, and nothing else."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF
from pipeline.datasets.space import Symbols
from pipeline.evaluate import probes_of
from pipeline.exhibits.exhibit import Measure
from pipeline.probes.probe import Probe, make_probe, measures_of
from pipeline.report import write_report
from tests.probes.test_held_out import V, lstm, text_of
from tests.test_report import make_study, section, table
from tests.test_report import read as read_page

PYTHON = '''
"""How sure a model is of what it says."""

from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.probes.probe import Probe


class Certainty(Probe):
    """The mean probability of the likeliest symbol, over the first `most` of them."""

    measures = {"certainty": Measure("", ".1%", "high", "sure")}

    def __init__(self, most: int):
        self.most = most

    def measure(self, network, data, seed):
        import torch

        batch = next(iter(data.held_out(data.judged_on, self.most)))
        with torch.no_grad():
            z, _ = network(batch.inputs, network.start(batch.inputs.shape[1]))
        return {"certainty": z.softmax(-1).amax(-1).mean().item(), "most": self.most}

    def show(self, rows):
        found = [(row["name"], run["found"]["certainty"]) for row in rows for run in row["runs"]]
        items = "".join(f"<li>{name}: {certainty:.3f}</li>" for name, certainty in found)
        return [Exhibit("How sure they are", "A line a run.", f"<ul>{items}</ul>")]
'''
YAML = "certainty:\n  _target_: my_certainty.Certainty\n  most: ${evaluation.length}\n"
DATA = "defaults:\n  - /probe@probes: [prediction, certainty]\nname: mine\n"
STUDY = """# @package _global_
defaults:
  - /probe@study.probes: [certainty, memory]
study:
  name: asked
  question: Who is sure?
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a probe of one's own: one Python file, one YAML file."""
    (tmp_path / "my_certainty.py").write_text(PYTHON)
    (tmp_path / "conf" / "probe").mkdir(parents=True)
    (tmp_path / "conf" / "probe" / "certainty.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_certainty", None)


def composed(folder, *overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", overrides=[f"hydra.searchpath=[file://{folder}/conf]", *overrides])


@pytest.mark.parametrize("listed_by", ["command", "data", "study"])
def test_a_new_probe_with_its_section_is_one_python_file_and_one_yaml_file(mine, listed_by):
    if listed_by == "command":
        cfg = composed(mine, "evaluation.length=33", "+probe@study.probes=certainty")
    elif listed_by == "data":
        (mine / "conf" / "data").mkdir()
        (mine / "conf" / "data" / "mine.yaml").write_text(DATA)
        cfg = composed(mine, "evaluation.length=33", "data=mine")
    else:
        (mine / "conf" / "study").mkdir()
        (mine / "conf" / "study" / "asked.yaml").write_text(STUDY)
        cfg = composed(mine, "evaluation.length=33", "study=asked")
    chosen = probes_of(cfg)
    assert list(chosen)[0] == "prediction" and chosen["certainty"] == {"_target_": "my_certainty.Certainty", "most": 33}

    study = make_study(mine, "asked", [("linux", "lstm", 1, 8, 1.2), ("linux", "gru", 1, 8, 1.3)], seeds=(0, 1))
    probes = {name: make_probe(name, choice) for name, choice in chosen.items()}
    data = text_of(np.random.default_rng(0).integers(0, V, 400).astype(np.uint8))
    for place, run in enumerate(study["runs"]):
        run["probes"]["certainty"] = probes["certainty"].measure(lstm(Symbols(V), Symbols(V), seed=place), data, 0)
        run["measured"]["certainty"] = run["probes"]["certainty"]["certainty"]
    for group in study["groups"]:
        runs = [run for run in study["runs"] if run["hash"] == group["hash"]]
        found = {str(run["seed"]): run["measured"]["certainty"] for run in runs}
        values = list(found.values())
        group["measured"]["certainty"] = {"mean": np.mean(values), "std": np.std(values, ddof=1)}
        group["by_seed"]["certainty"] = found
    study["probes"]["certainty"] = chosen["certainty"]
    study["measures"]["certainty"] = measures_of(probes.items())["certainty"]._asdict()
    (mine / "results" / "studies" / "asked.json").write_text(json.dumps(study))
    page = section(read_page(mine / "results"), "asked")
    assert "How sure they are" in [heading.text for heading in page.find("h3")]
    assert len([item for item in page.find("li") if item.text.startswith(("lstm", "gru"))]) == 4
    (rows,) = table(page, "comparison")
    assert {row[9] for row in rows[1:]} == {
        f"{group['measured']['certainty']['mean']:.1%}" for group in study["groups"]
    }


def test_every_choice_of_a_probe_is_one_and_is_made(tmp_path):
    (tmp_path / "conf").mkdir()
    for file in sorted((CONF / "probe").glob("*.yaml")):
        chosen = probes_of(composed(tmp_path, f"+probe@study.probes={file.stem}"))
        assert file.stem in chosen
        probe = make_probe(file.stem, chosen[file.stem])
        assert isinstance(probe, Probe) and all(isinstance(one, Measure) for one in probe.measures.values())
        assert all(one.better in ("low", "high") and format(1.0, one.digits) for one in probe.measures.values())


@pytest.mark.parametrize(
    "choice, why",
    [
        ({"_target_": "pipeline.probes.gone.Gone"}, r"there is no pipeline.probes.gone.Gone \("),
        ({"_target_": "pipeline.probes.memory.Gone"}, r"there is no pipeline.probes.memory.Gone \("),
        ({"_target_": None}, r"there is no None \("),
        ({}, r"there is no None \("),
        ({"_target_": "subprocess.Popen", "args": "ls"}, "subprocess.Popen is no subclass of"),
        ({"_target_": "os.system"}, "os.system is no subclass of"),
        ({"_target_": "pipeline.probes.memory.Memory", "rooms": 3}, "cannot be made with {'rooms': 3}: .*takes no"),
        ({"_target_": "pipeline.probes.probe.Probe"}, "cannot be made with {}: .*abstract"),
    ],
)
def test_what_is_no_probe_is_refused_in_a_line(choice, why):
    with pytest.raises(Refusal, match=f"^probe mine: .*{why}[^\n]*$"):
        make_probe("mine", choice)


def test_a_page_whose_probe_is_gone_names_the_mend(tmp_path):
    study = make_study(tmp_path, "asked", [("linux", "lstm", 1, 8, 1.2)])
    study["probes"]["old"] = {"_target_": "pipeline.probes.old.Old"}
    (tmp_path / "results" / "studies" / "asked.json").write_text(json.dumps(study))
    with pytest.raises(
        Refusal, match=r"asked.json: probe old: there is no [^\n]*pipeline.evaluate study=asked`, or move it away$"
    ):
        write_report(tmp_path / "results")


def test_two_probes_never_share_a_measure():
    class One(Probe):
        measures = {"a": Measure(), "b": Measure()}

        def measure(self, network, data, seed):
            return {}

    class Two(One):
        measures = {"c": Measure(), "b": Measure()}

    with pytest.raises(Refusal, match="^probes one and two both measure 'b': leave out one of them"):
        measures_of([("one", One()), ("two", Two())])


def test_the_page_is_made_without_torch(tmp_path):
    make_study(tmp_path, "asked", [("linux", "lstm", 1, 8, 1.2)])
    code = (
        "import sys; from pathlib import Path; from pipeline.report import write_report; "
        f"write_report(Path({str(tmp_path / 'results')!r})); "
        "import pipeline.probes.memory, pipeline.probes.forecast; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=CONF.parent).returncode == 0
