"""What is known of a model before it is built."""

import pytest

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.runs.building import refuse_too_large
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
