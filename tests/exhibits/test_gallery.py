import pytest

from pipeline.exhibits.gallery import evenly


@pytest.mark.parametrize(
    "steps, shown",
    [
        ([], []),
        ([7], [7]),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        ([0, 1, 10, 100, 500, 1000], [0, 1, 10, 100, 1000]),
        (list(range(100, 10001, 100)), [100, 300, 1000, 3200, 10000]),
        ([1, 996, 997, 998, 999, 1000], [1, 996, 997, 998, 1000]),
    ],
)
def test_evenly(steps, shown):
    assert evenly(steps, 5) == shown
