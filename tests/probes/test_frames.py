import numpy as np
import pytest
import torch

from pipeline.datasets.ragged import Sequences
from pipeline.datasets.space import Bits
from pipeline.models.delay_taps import DelayTaps
from pipeline.probes.frames import Frames


def rolls(foretells=True):
    draw, sequences = np.random.default_rng(1), []
    for length in (3, 5, 4):
        x = (draw.random((length, 6)) < 0.4).astype(float)
        sequences.append((x, np.concatenate([x[1:], np.full((1, 6), np.nan)])))
    parts = {"train": sequences, "validation": sequences[:1], "test": sequences}
    return Sequences("rolls", Bits(6), Bits(6), parts, 0, foretells=foretells), sequences


def test_a_frame_costs_the_sum_over_its_keys_and_notes_are_found_missed_or_made_up():
    data, sequences = rolls()
    network = DelayTaps(Bits(6), Bits(6), (), taps=1).double()
    with torch.no_grad():
        network.weight.normal_(generator=torch.Generator().manual_seed(0))
        network.bias.fill_(-0.2)
    found = Frames().measure(network, data, 0)
    losses, true, wrong, missed = [], 0, 0, 0
    for x, _ in sequences:
        for t in range(len(x) - 1):
            p = 1 / (1 + np.exp(-(network.weight[:, 0].detach().numpy() @ x[t] - 0.2)))
            losses.append(-sum(np.log(p[d] if x[t + 1, d] else 1 - p[d]) for d in range(6)))
            true += sum(p[d] > 0.5 and x[t + 1, d] == 1 for d in range(6))
            wrong += sum(p[d] > 0.5 and x[t + 1, d] == 0 for d in range(6))
            missed += sum(p[d] <= 0.5 and x[t + 1, d] == 1 for d in range(6))
    assert len(losses) == 9 and min(true, wrong, missed) > 0
    assert found["frame"] == pytest.approx(np.mean(losses)) and found["notes"] == true / (true + wrong + missed)


def test_it_is_about_bits_that_are_the_next_element():
    assert Frames().fits(None, rolls()[0]) and not Frames().fits(None, rolls(foretells=False)[0])
