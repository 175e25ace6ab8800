"""What is known of a model before it is built."""

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.recurrence.engines import SPEED
from pipeline.runs.building import initial_learning, refuse_too_large
from pipeline.runs.settling import settle
from tests.conftest import composed


def said(*overrides):
    cfg = composed("scale=smoke", "data=sine", *overrides)
    return refuse_too_large(cfg, load_data(cfg.data))


def test_a_model_that_no_machine_holds_is_refused_and_a_large_one_is_said_to_be():
    with pytest.raises(
        Refusal, match=r"^model=lstm 1x100000000: 40,000,001,300,000,001 parameters, .* GiB in training"
    ):
        said("model.hidden=100000000")
    with pytest.raises(Refusal, match="take a smaller model"):
        said("model.hidden=10000000000")  # more than torch can count
    assert said("model=gru", "model.hidden=5000") == "model=gru 1x5000: 75,050,001 parameters, 1.1 GiB in training"
    assert said() is None and said("model=lds") is None


@pytest.mark.parametrize("gpu, least, most", [(True, 60, 200), (False, 0, 1)])
def test_the_time_of_a_run_is_estimated_with_the_launches_of_small_networks(monkeypatch, gpu, least, most):
    """10,000 steps of 100: on a GPU at 0.1 ms each where they are small."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    told = {}
    monkeypatch.setattr(
        RecurrentNetwork, "run_on", lambda network, device, engine, work, seconds: told.update({device: work}) or ""
    )
    overrides = ["data=sine", "data.length=20000", "model=gru", "model.hidden=4", "trainer.batch=10"]
    cfg = composed(*overrides, "trainer.length=100", "trainer.steps=10000", "trainer.threads=1")
    data = load_data(cfg.data)
    initial_learning(settle(cfg, data), data, 0)
    [(device, work)] = told.items()
    assert device == ("cuda" if gpu else "cpu") and least <= work / SPEED[device] <= most
