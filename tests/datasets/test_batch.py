"""A batch on its way to a GPU, which is not there: what PyTorch is asked for is looked at."""

from collections import Counter

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.datasets.batch import Batch

aten = torch.ops.aten


class Sent(TorchDispatchMode):
    """Notes what is copied to a GPU, and from which memory."""

    def __init__(self):
        super().__init__()
        self.pinned, self.found = [], []

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        options = options or {}
        made = operator(*arguments, **options)
        if operator is aten.empty.memory_format and options.get("pin_memory"):
            self.pinned.append(made)
        if operator is aten._to_copy.default and made.device.type == "cuda":
            [part] = arguments
            pinned = any(torch._C._is_alias_of(part, one) for one in self.pinned)
            self.found.append((made.dtype, pinned, part.is_contiguous(), options.get("non_blocking", False)))
        return made


VIEWS = {
    "whole": lambda part: part,
    "a rank's share": lambda part: part[:, 1:3],
    "the same for all": lambda part: part[:, :1].expand_as(part),
    "batch first": lambda part: part.mT,
}


@pytest.mark.parametrize("view", VIEWS)
def test_parts_go_to_a_gpu_from_pinned_memory_without_a_wait(view):
    """From dense memory of their own: PyTorch copies a view of other memory first into some that is not pinned."""
    of = VIEWS[view]
    with FakeTensorMode():
        x, y, at = torch.zeros(5, 4, dtype=torch.int64), torch.zeros(5, 4, dtype=torch.float64), torch.zeros(5, 4)
        batch = Batch(of(x), of(y), 9, given=(of(at),), positions=of(x))
        with Sent() as sent:
            there = batch.to(torch.device("cuda", 0), torch.float32)
    parts = (there.inputs, there.targets, *there.given, there.positions)
    assert [part.device.type for part in parts] == ["cuda"] * 4
    kinds = [part.dtype for part in parts]
    assert kinds == [torch.int64, torch.float32, torch.float32, torch.int64]
    assert Counter(sent.found) == Counter((kind, True, True, True) for kind in kinds)
    assert there.count == 9


def test_on_the_cpu_real_numbers_change_their_type():
    batch = Batch(torch.tensor([[1, 2]]), torch.tensor([[0.5, 0.25]]).double(), 2)
    there = batch.to(torch.device("cpu"), torch.float32)
    assert there.inputs.dtype == torch.int64 and there.inputs.tolist() == [[1, 2]]
    assert there.targets.dtype == torch.float32 and there.targets.tolist() == [[0.5, 0.25]]
