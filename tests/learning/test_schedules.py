import math

import pytest

from pipeline.learning.schedules import constant, cosine, epoch_decay


def test_constant():
    assert {constant(step, 100, 10) for step in range(100)} == {1.0}


def test_epoch_decay_is_karpathys():
    # 20 steps an epoch: full rate through epoch 11, then 0.95 an epoch.
    factors = [epoch_decay(step, 1000, 20, after=10, factor=0.95) for step in (0, 199, 219, 220, 239, 240)]
    assert factors == pytest.approx([1, 1, 1, 0.95, 0.95, 0.95**2])


def test_cosine_warms_up_and_ends_at_the_floor():
    factors = [cosine(step, 110, 10, warmup=10, floor=0.2) for step in range(111)]
    assert factors[0] == 0.1 and factors[9] == factors[10] == 1.0
    assert factors[60] == pytest.approx(0.6) and factors[110] == pytest.approx(0.2)
    assert factors[35] == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
