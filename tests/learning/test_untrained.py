"""Networks that stay as they were drawn."""

import torch

from pipeline.datasets.data import load_data
from pipeline.files.whole import read_lines
from pipeline.runs.building import initial_network, load_network
from pipeline.runs.settling import settle
from tests.conftest import composed, trained


def test_one_step_reads_a_batch_and_changes_nothing(tmp_path):
    overrides = ["data=hello", "model=rnn", "optimizer=untrained", "scale=smoke", "tracking.uri=null"]
    overrides += [f"paths.runs={tmp_path}", "trainer.dtype=float64", "trainer.steps=7"]
    run = trained(*overrides)
    cfg = composed(*overrides)
    data = load_data(cfg.data)
    settled = settle(cfg, data)
    drawn, kept = initial_network(settled, data), load_network(run, data)
    for (name, one), other in zip(drawn.named_parameters(), kept.parameters(), strict=True):
        assert torch.equal(one, other), name
    batch = data.training(settled.trainer.batch, settled.trainer.length).at(0).to(torch.device("cpu"), torch.float64)
    with torch.no_grad():
        loss, _ = drawn.loss(batch, drawn.start(batch.inputs.shape[1]))
    [record] = read_lines(run.metrics)
    assert record["step"] == 1 and record["train"] == float(loss) / batch.count
