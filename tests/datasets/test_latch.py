"""A sign to be held through noise."""

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.datasets.latch import Latch


@pytest.mark.parametrize("informative", [1, 3])
def test_the_sign_of_the_first_steps_is_asked_at_the_end(informative):
    problem, noise, classes, lengths = Latch(30, informative, 0.2, 4, 10, 10), [], [], set()
    for k in range(2000):
        inputs, targets, _ = problem.drawn("test", k)
        signs = {float(x) for x in inputs[:informative, 0]}
        assert signs == ({1.0} if targets[-1] else {-1.0}) and (targets[:-1] == 2).all()
        noise.append(inputs[informative:, 0])
        classes.append(targets[-1])
        lengths.add(len(inputs))
    noise = np.concatenate(noise)
    assert lengths == {30, 31, 32, 33} and abs(np.mean(classes) - 0.5) < 0.05
    assert abs(noise.mean()) < 0.01 and abs(noise.var() - 0.2) < 0.01 and abs((noise**4).mean() - 3 * 0.04) < 0.01


def test_solved_and_refused():
    assert Latch.criterion.met(0.009, 1.0) and not Latch.criterion.met(0.011, 1.0)
    assert not Latch.criterion.met(0.009, 255 / 256)
    with pytest.raises(Refusal, match="^data.informative=5: take fewer than data.lag=5 "):
        Latch(5, 5, 0.2, 0, 1, 1)
