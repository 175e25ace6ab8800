"""Addition against Python's integers."""

import numpy as np
import pytest
import torch

from pipeline.datasets.binary_addition import BinaryAddition


def problem(bits, curriculum=None, held=20):
    return BinaryAddition(bits, curriculum, seed=1, episodes=100, held=held)


def number(bits) -> int:
    return sum(int(bit) << place for place, bit in enumerate(np.asarray(bits).tolist()))


@pytest.mark.parametrize("bits", [1, 3, 300])
def test_targets_are_the_sum_and_numbers_are_uniform(bits):
    batch = next(problem(bits, held=400).held_out("test"))
    assert batch.inputs.shape == (bits + 1, 400, 2) and batch.targets.shape == (bits + 1, 400, 1)
    assert batch.count == (bits + 1) * 400 and not batch.inputs[-1].any()
    for inputs, targets in zip(batch.inputs.unbind(1), batch.targets.unbind(1)):
        assert number(inputs[:, 0]) + number(inputs[:, 1]) == number(targets[:, 0])
    assert abs(batch.inputs[:-1].mean((0, 1)) - 0.5).max() < 4 * 0.5 / (400 * bits) ** 0.5
    if bits == 3:
        pairs = {(number(one[:, 0]), number(one[:, 1])) for one in batch.inputs.unbind(1)}
        assert len(pairs) == 64


def test_a_curriculum_lengthens_numbers_evenly_and_is_a_function_of_the_step():
    batches = problem(4, curriculum=40).training(6)
    lengths = [len(batches.at(step).inputs) - 1 for step in range(50)]
    assert lengths == [1] * 10 + [2] * 10 + [3] * 10 + [4] * 20
    again = problem(4, curriculum=40).training(6)
    for step in (25, 3, 44):
        one, other = batches.at(step), again.at(step)
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
        assert one.positions.max() < batches.elements
    halves = [problem(4, curriculum=40).training(6, None, rank, 2).at(25) for rank in (0, 1)]
    assert torch.equal(torch.cat([half.inputs for half in halves], 1), batches.at(25).inputs)
    assert not torch.equal(batches.at(20).inputs, batches.at(21).inputs)


class NoCarry(torch.nn.Module):
    """Answers a + b mod 2 in every column."""

    device, dtype = torch.device("cpu"), torch.float32

    def start(self, batch):
        return (torch.zeros(1, batch, 1),)

    def forward(self, x, state):
        return (x.sum(-1, keepdim=True) == 1).float() - 0.5, state


def test_sums_are_written_as_people_write_them():
    data = problem(5, held=8)
    pieces = "".join(data.write(NoCarry(), "", 1.0, 100, torch.Generator())).split("\n\n")[:-1]
    assert len(pieces) == 8
    for piece, inputs in zip(pieces, next(data.held_out("test")).inputs.unbind(1)):
        a, b = number(inputs[:, 0]), number(inputs[:, 1])
        lines = piece.split("\n")
        assert [line.split()[-2:] for line in lines[:3]] == [[f"{c:06b}", str(c)] for c in (a, b, a + b)]
        wrong = ((a ^ b) ^ (a + b)).bit_count()
        verdict = f"{wrong} of 6 bits wrong" if wrong else "right"
        assert lines[3].split(maxsplit=3) == ["answer", f"{a ^ b:06b}", str(a ^ b), verdict]
    (short,) = list(problem(50, held=1).write(NoCarry(), "", 1.0, 7, torch.Generator()))[::2]
    assert all(len(line.split("…")[1].split()[0]) == 7 for line in short.split("\n"))
    assert list(problem(5).write(NoCarry(), "", 1.0, 0, torch.Generator())) == []
