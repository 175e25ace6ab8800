"""Losses that a change of the structure must not change; golden_losses.json says how they were made."""

import json

import pytest

from pipeline.datasets.data import load_data
from pipeline.files.whole import read_lines
from pipeline.probes.held_out import held_out
from pipeline.runs.building import load_network
from tests.conftest import ROOT, composed, prepared_text, trained, words

GOLDEN = json.loads((ROOT / "tests" / "golden_losses.json").read_text())
# On the machine that made them training losses are the same to the last bit; other processors' libraries add in another
# order.
ROUNDING = 1e-9


@pytest.mark.parametrize("name", GOLDEN["runs"])
def test_losses_are_as_before(tmp_path, name):
    golden = GOLDEN["runs"][name]
    given = [override for override in golden["overrides"] if override != "TEXT"]
    text = prepared_text(tmp_path, words(4000)) if "TEXT" in golden["overrides"] else [f"paths.runs={tmp_path}/runs"]
    overrides = [*text, *GOLDEN["all"], "tracking.uri=null", *given]
    run = trained(*overrides)
    for record, expected in zip(read_lines(run.metrics), golden["records"], strict=True):
        assert record["step"] == expected["step"] and ("validation" in record) == ("validation" in expected)
        assert record["train"] == pytest.approx(expected["train"], rel=ROUNDING)
        assert record["smoothed"] == pytest.approx(expected["smoothed"], rel=ROUNDING)
        assert record.get("validation", 0) == pytest.approx(expected.get("validation", 0), rel=1e-7)
    data = load_data(composed(*overrides).data)
    found = held_out(load_network(run, data), data, "test")
    assert found.loss == pytest.approx(golden["test"], rel=1e-7) and found.asked == golden["asked"]
