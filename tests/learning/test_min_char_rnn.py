"""The study min_char_rnn against the 112 lines in NumPy."""

import numpy as np
import pytest
import yaml

from pipeline.command.settings import CONF
from pipeline.datasets.data import load_data
from pipeline.files.whole import read_lines
from tests.conftest import composed, prepared_text, trained
from tests.oracles.min_char_rnn import MinCharRNN

TEXT = "First Citizen: Before we proceed any further, hear me speak.\nAll: Speak, speak!\n" * 12


def study_overrides(scale: str) -> list[str]:
    """What the study's sweep sets, as the sweeper passes it on."""
    study = yaml.safe_load((CONF / "study" / "min_char_rnn.yaml").read_text())
    steps = study["study"]["at"][scale]["steps"]
    return [
        f"{key}={steps if str(value).startswith('${') else value}"
        for key, value in study["hydra"]["sweeper"]["params"].items()
        if key != "data"
    ]


# At the experiment's own rate of 0.1 the first updates are so wild that rounding grows tenfold a step: the oracle with
# one weight changed by 1e-15 leaves the oracle as fast. So the whole course is compared at a smaller rate too.
@pytest.mark.parametrize("rate, steps, tolerance", [(0.1, 6, 1e-6), (0.002, 150, 1e-9)])
def test_losses_agree_step_for_step_in_float64(tmp_path, rate, steps, tolerance):
    overrides = [
        *prepared_text(tmp_path, TEXT),
        "scale=smoke",
        "tracking.uri=null",
        *study_overrides("smoke"),
        "trainer.dtype=float64",
        "trainer.record_every=1",
        f"trainer.steps={steps}",
        f"optimizer.lr={rate}",
        "seed=3",
    ]
    run = trained(*overrides)
    records = read_lines(run.metrics)

    from pipeline.runs.building import initial_network

    cfg = composed(*overrides)
    data = load_data(cfg.data)
    net = initial_network(cfg, data)
    w = {name: value.detach().numpy().copy() for name, value in net.named_parameters()}
    assert w["stack.cells.0.recurrent.h"].std() == pytest.approx(0.01, rel=0.1)
    oracle = MinCharRNN(
        {
            "Wxh": w["stack.cells.0.input_weight"],
            "Whh": w["stack.cells.0.recurrent.h"],
            "bh": w["stack.cells.0.input_bias"],
            "Why": w["readout.weight"],
            "by": w["readout.bias"],
        }
    )
    text = np.asarray(data.parts["train"])
    assert 150 * 25 > 2 * len(text)  # the longer course passes the end of the text more than once
    losses = oracle.train(text, 25, steps, rate)

    lengths = [min(25, len(text) - 1 - p) for p in range(0, len(text) - 1, 25)]
    lengths = [lengths[step % len(lengths)] for step in range(steps)]
    ours = [record["train"] * length for record, length in zip(records, lengths, strict=True)]
    np.testing.assert_allclose(ours, losses, rtol=tolerance)

    smooth, smoothed = np.log(len(data.vocabulary)), []
    for loss, length in zip(losses, lengths):
        smooth = 0.999 * smooth + 0.001 * loss / length
        smoothed.append(smooth)
    np.testing.assert_allclose([record["smoothed"] for record in records], smoothed, rtol=tolerance)
    assert steps == 6 or losses[-1] < 0.95 * losses[0]


def test_the_oracles_gradients_are_those_of_its_loss():
    draw = np.random.default_rng(0)
    V, H, text = 4, 3, np.array([0, 2, 1, 3, 3, 0])
    weights = {
        "Wxh": draw.normal(size=(H, V)),
        "Whh": draw.normal(size=(H, H)),
        "bh": draw.normal(size=H),
        "Why": draw.normal(size=(V, H)),
        "by": draw.normal(size=V),
    }
    h = draw.normal(size=H)

    def loss_of():
        oracle = MinCharRNN(weights)
        oracle.h = h
        return oracle.gradients(text[:-1], text[1:])

    _, gradients = loss_of()
    for name, value in weights.items():
        for at in np.ndindex(value.shape):
            value[at] += 1e-6
            above, _ = loss_of()
            value[at] -= 2e-6
            below, _ = loss_of()
            value[at] += 1e-6
            assert gradients[name][at] == pytest.approx((above - below) / 2e-6, abs=1e-7)
