"""Learning from the validation part."""

import torch

from pipeline.datasets.batch import Batch
from pipeline.datasets.data import load_data
from pipeline.learning.held_out import HeldOutBatches
from pipeline.runs.settling import rule_of
from tests.conftest import composed


def test_positions_number_what_is_read_once_and_alike_in_every_pass():
    shapes = [(3, 2), (2, 2), (4, 1)]
    batches = HeldOutBatches([Batch(torch.zeros(shape, dtype=int), torch.zeros(shape), 1) for shape in shapes], 1.0)
    found = torch.cat([batches.at(step).positions.flatten() for step in range(3)])
    assert sorted(found.tolist()) == list(range(14)) and batches.elements == 14
    assert (len(batches), batches.batch, batches.longest) == (3, 2, 4)
    assert torch.equal(batches.at(4).positions, batches.at(1).positions)


def test_what_is_learned_from_is_the_validation_part_as_it_is_judged(small):
    cfg = composed(*small, "model=mixture", "trainer.validation_symbols=700")
    data = load_data(cfg.data)
    batches = rule_of(cfg).batches(cfg, data, 0, 1)
    wanted = list(data.held_out("validation", 700))
    assert len(batches) == len(wanted) and sum(batch.count for batch in wanted) == 699
    for step, batch in enumerate(wanted):
        assert torch.equal(batches.at(step).inputs, batch.inputs)
        assert torch.equal(batches.at(step).targets, batch.targets) and batches.at(step).carried == batch.carried
