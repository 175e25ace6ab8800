"""model.centred: numbers are read less their mean, and answers start at theirs."""

import numpy as np
import pytest
import torch

from pipeline.datasets.data import load_data
from pipeline.runs.building import initial_network, load_network
from pipeline.runs.settling import settle
from tests.conftest import composed, trained

SMALL = ["data=adding", "data.lag=20", "data.episodes=300", "scale=smoke", "trainer.sample.at=[]"]


def network(*overrides: str, of: str = "model=lstm"):
    cfg = composed(*SMALL, of, "initialization=gaussian", *overrides)
    data = load_data(cfg.data)
    return initial_network(settle(cfg, data), data), data


def test_means_are_those_of_what_the_training_part_reads_and_asks():
    centred, data = network("model.centred=true")
    sequences = [data.drawn("train", number) for number in range(300)]
    read = np.concatenate([sequence.inputs for sequence in sequences])
    np.testing.assert_allclose(centred.mean, read.mean(0), rtol=1e-5)
    asked = np.concatenate([sequence.targets[~np.isnan(sequence.targets)] for sequence in sequences])
    assert centred.readout.bias.item() == pytest.approx(asked.mean(), rel=1e-5)


def test_it_is_the_network_without_that_reads_less_the_means():
    (centred, data), (plain, _) = network("model.centred=true"), network()
    assert "mean" not in plain.state_dict() and plain.readout.bias.item() == 0
    bias = centred.readout.bias.item()
    centred.readout.bias.data.zero_()
    x = data.training(4, None).at(0).inputs.float()
    for ours, theirs in zip(
        (*centred(x, centred.start(4)), centred.activities(x, centred.start(4))[0]),
        (*plain(x - centred.mean, plain.start(4)), plain.activities(x - centred.mean, plain.start(4))[0]),
        strict=True,
    ):
        assert all(map(torch.equal, ours, theirs))
    assert bias and not torch.equal(plain(x, plain.start(4))[0], centred(x, centred.start(4))[0])


def test_a_run_keeps_its_means(tmp_path):
    overrides = [
        *SMALL,
        "model=rnn",
        "model.centred=true",
        "tracking.uri=null",
        f"paths.runs={tmp_path}",
        "trainer.steps=2",
    ]
    run = trained(*overrides)
    data = load_data(composed(*overrides).data)
    assert torch.equal(load_network(run, data).mean, network(*overrides[2:-3], of="model=rnn")[0].mean)


def test_symbols_are_read_as_they_are():
    cfg = composed("data=hello", "model=rnn", "model.centred=true", "scale.hidden=4")
    data = load_data(cfg.data)
    network = initial_network(settle(cfg, data), data)
    assert not network.mean.any()
    x = data.training(1, None).at(0).inputs
    network.mean.fill_(9.0)
    z, _ = network(x, network.start(1))
    network.mean.zero_()
    assert torch.equal(z, network(x, network.start(1))[0])
