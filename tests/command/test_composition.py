"""The configurations of several runs."""

import pytest
from hydra import compose, initialize_config_dir

from pipeline.command import composition
from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF

GRIDS = {
    "choices and settings": [
        [f"model={model}", f"seed={seed}", f"optimizer.lr={rate}", "trainer.steps=7"]
        for model in ("lstm", "gru")
        for seed in (0, 1)
        for rate in (0.1, 0.2)
    ],
    "what a scale follows": [[f"scale.hidden={hidden}", "data=adding"] for hidden in (8, 9)],
    "mappings and their parts": [["trainer.sample={every:3}", f"trainer.sample.length={n}"] for n in (1, 2)],
    "texts, lists and nothing": [
        [f"trainer.sample.at={at}", f"trainer.seconds={seconds}", "trainer.sample.prompt='a b'"]
        for at in ("[1,2]", "[]")
        for seconds in ("null", "1.5")
    ],
    "what is added": [["optimizer=sgd", f"+optimizer.momentum={one}"] for one in (0.5, 0.9)],
    "said twice": [["seed=1", f"seed={seed}"] for seed in (2, 3)],
}


@pytest.fixture
def hydra():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield


@pytest.mark.parametrize("jobs", GRIDS.values(), ids=GRIDS)
def test_runs_composed_together_are_those_composed_alone(hydra, jobs):
    for job, cfg in zip(jobs, composition.compose_jobs(jobs), strict=True):
        assert cfg == composition.compose_job(job)


def test_what_chooses_is_composed_once(hydra, monkeypatch):
    composed = []
    monkeypatch.setattr(composition, "compose", lambda *words, **more: composed.append(more) or compose(*words, **more))
    jobs = [[f"model={model}", f"seed={seed}"] for model in ("lstm", "gru") for seed in range(20)]
    assert [cfg.seed for cfg in composition.compose_jobs(jobs)] == [*range(20)] * 2 and len(composed) == 2


def test_a_wrong_setting_is_refused_as_in_a_run_alone(hydra):
    with pytest.raises(Refusal, match="^model.layers=0: take a whole number from 1"):
        list(composition.compose_jobs([["model.layers=1"], ["model.layers=0"]]))
    with pytest.raises(Exception, match="hiden"):
        list(composition.compose_jobs([["model.hiden=1"], ["model.hiden=2"]]))
