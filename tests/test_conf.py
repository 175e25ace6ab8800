"""Every entry of every group composes, builds, trains two steps, is saved, read back and sampled."""

import pytest
import torch
import yaml

from pipeline.corpora.prepared import load
from pipeline.models.load import load_network
from pipeline.probes.text import write
from pipeline.runs.files import read_lines
from pipeline.verb import CONF
from tests.conftest import composed, trained


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


GROUPS = [(group, choice) for group in ("model", "optimizer", "initialization", "schedule", "trainer") for choice in choices(group)]


@pytest.mark.parametrize("group, choice", GROUPS)
def test_entry_trains_two_steps_is_read_back_and_writes(run_in, small, group, choice):
    overrides = [f"{group}={choice}", "trainer.steps=2"]
    run = run_in(*overrides)
    assert [record["step"] for record in read_lines(run.metrics)] == [2]
    prepared = load(composed(*small, *overrides).data.prepared)
    network = load_network(run, prepared)
    saved = torch.load(run.last, weights_only=False)["state_dict"]
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, saved[f"network.{name}"])
    text = write(network, prepared.vocabulary, "the king", 1.0, 30, seed=0)
    assert len(text) == 30 and set(text) <= set(chr(code) for code in prepared.vocabulary.codes)


@pytest.mark.parametrize("choice", choices("optimizer"))
def test_every_optimizer_learns(run_in, choice):
    records = read_lines(run_in(f"optimizer={choice}", "trainer.steps=400", "trainer.record_every=20", "trainer.validate_every=400", "model=gru").metrics)
    assert records[-1]["train"] < 0.8 * records[0]["train"]


@pytest.mark.parametrize("choice", choices("data"))
def test_corpus_composes_with_what_every_corpus_has(choice):
    data = composed(f"data={choice}").data
    assert data.name == choice and data.split == "80-10-10" and data.prompts
    assert data.prepared == f"data/prepared/{choice}/characters-80-10-10"


@pytest.mark.parametrize("scale", choices("scale"))
def test_scale_sizes_model_and_trainer(scale):
    cfg = composed(f"scale={scale}")
    assert (cfg.model.hidden, cfg.trainer.steps, cfg.scale.name) == (cfg.scale.hidden, cfg.scale.steps, scale)


@pytest.mark.parametrize("scale", choices("scale"))
@pytest.mark.parametrize("study", [name for name in choices("study") if name != "single"])
def test_study_has_a_grid_at_every_scale(study, scale):
    cfg = composed(f"study={study}", f"scale={scale}")
    assert cfg.study.name == study and cfg.study.question.endswith("?") and scale in cfg.study.at


def test_the_pipelines_studies_and_corpora_exist():
    parameters = yaml.safe_load((CONF.parent / "params.yaml").read_text())
    assert set(parameters["studies"]) == set(choices("study")) - {"single", "zoo"}        # zoo takes a quarter of an hour
    assert set(parameters["corpora"]) <= set(choices("data")) and parameters["scale"] == "laptop"
