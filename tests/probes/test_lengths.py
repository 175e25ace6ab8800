import pytest

from pipeline.datasets.binary_addition import BinaryAddition
from pipeline.probes.lengths import Lengths, figure
from tests.datasets.test_binary_addition import NoCarry, number


def test_shares_are_those_of_bits_and_of_whole_sums_at_each_length():
    data = BinaryAddition(2, None, seed=4, episodes=10, held=5)
    probe = Lengths([2, 7], 600)  # more than are drawn at once
    found = probe.measure(NoCarry(), data, 0)
    assert found["trained"] == 2 and list(probe.measures) == ["bits_2", "bits_7", "sums_7"]
    for bits in (2, 7):
        wrong = []
        for batch in data.of_length(bits, 600).held_out("test"):
            for inputs in batch.inputs.unbind(1):
                a, b = number(inputs[:, 0]), number(inputs[:, 1])
                wrong.append(((a ^ b) ^ (a + b)).bit_count())
        assert len(wrong) == 600
        assert found[f"bits_{bits}"] == pytest.approx(1 - sum(wrong) / (600 * (bits + 1)))
        assert found[f"sums_{bits}"] == pytest.approx(wrong.count(0) / 600)


def test_both_panels_hold_a_line_a_model_through_the_means_of_its_seeds():
    runs = [{"found": {"trained": 8, "bits_8": x, "bits_64": x / 2, "sums_8": 0.0, "sums_64": x}} for x in (0.4, 1.0)]
    whole = figure([{"name": "rnn", "runs": runs}], [8, 64])
    for axes, means in zip(whole.axes, ([0.7, 0.35], [0.0, 0.7])):
        lines = [line for line in axes.lines if line.get_linestyle() == "-"]
        assert [pytest.approx(means)] == [list(line.get_ydata()) for line in lines]
