"""Runs on one device each that train beside one another take a GPU each."""

from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from pipeline.command import sweep
from pipeline.runs import building, gpus, training
from tests.conftest import composed


def test_a_gpu_is_taken_by_one_process_as_long_as_it_lives(tmp_path, monkeypatch):
    """Locks of one process exclude one another as those of several do."""
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: tmp_path)
    monkeypatch.setattr(gpus, "_kept", [])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"GPU-{number}"))
    choose = gpus.own_gpu.__wrapped__
    assert choose() == 0 and choose() == 1
    assert choose() in (0, 1) and len(gpus._kept) == 2  # shared where none is left
    gpus._kept[0].close()
    assert choose() == 0


@pytest.mark.parametrize("count, devices, given", [(4, 1, [3]), (4, 2, 2), (1, 1, 1)])
def test_lightning_is_given_the_gpu_of_the_process(monkeypatch, count, devices, given):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(training, "own_gpu", lambda: 3)
    told = {}

    class Trainer:
        def __init__(self, **options):
            told.update(options)

        def fit(self, *arguments, **options):
            pass

    monkeypatch.setattr(training.lightning, "Trainer", Trainer)
    cfg = composed("model=lstm", f"trainer.devices={devices}")
    run = SimpleNamespace(last=SimpleNamespace(exists=lambda: False))
    training.fit(cfg, run, SimpleNamespace(strategy=lambda timeout: "ddp"), None)
    assert told["devices"] == given and building.on_gpu(cfg)


@pytest.mark.parametrize(
    "count, override, at_once",
    [(3, "", 3), (0, "", -1), (3, "trainer.accelerator=cpu", -1), (3, "n_jobs=5", 5), (3, "dry_run=true", 1)],
)
def test_a_pool_runs_as_many_at_once_as_there_are_gpus(monkeypatch, count, override, at_once):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    jobs = [override] if "=" in override and "n_jobs" not in override else []
    launcher = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"}
    launcher["n_jobs"] = 5 if "n_jobs" in override else -1
    monkeypatch.setattr(sweep, "compose_job", lambda job: composed(*job))
    monkeypatch.setattr(sweep, "jobs_of", lambda plain, hydra: [jobs])
    sweeper = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"}
    dry_run = override == "dry_run=true"  # in one process, which adds up how long the runs take
    config = OmegaConf.create({"dry_run": dry_run, "hydra": {"launcher": launcher, "sweeper": sweeper}})
    sweep.CheckedSweep().on_multirun_start(config)
    assert config.hydra.launcher.n_jobs == at_once
