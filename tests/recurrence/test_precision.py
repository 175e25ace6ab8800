"""How float32 matrices are multiplied is set in one place, for all that multiplies them."""

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.recurrence.precision import matmul_precision, set_matmul_precision


@pytest.fixture(autouse=True)
def as_before():
    yield
    set_matmul_precision("ieee", gpu=False)


def test_the_precision_governs_cublas_and_cudnn_and_is_told_to_our_kernels():
    for precision, rounded in (("tf32", True), ("ieee", False), ("bf16", True)):
        set_matmul_precision(precision, gpu=True)
        assert matmul_precision() == precision
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is rounded
        assert (torch.backends.cuda.matmul.fp32_precision == "tf32") is rounded
        for kind in (torch.backends.cudnn.rnn, torch.backends.cudnn.conv):
            assert (kind.fp32_precision == "tf32") is rounded


def test_what_pytorch_asks_elsewhere_agrees():
    """Some of PyTorch's names for it contradict others, and those who ask by these then fail."""
    for precision in ("tf32", "ieee"):
        set_matmul_precision(precision, gpu=True)
        torch.get_float32_matmul_precision()
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            pass


def test_a_cpu_takes_no_other_than_ieee(run_in):
    with pytest.raises(Refusal, match="^trainer.matmul_precision=tf32: a CPU multiplies as ieee has it: take that, or"):
        run_in("model=constant", "trainer.steps=1", "trainer.accelerator=cpu", "trainer.matmul_precision=tf32")
    assert matmul_precision() == "ieee"
