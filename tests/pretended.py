"""A pretended GPU: tensors on the device "pretend:0" whose numbers lie in the CPU's memory.

What CUDA refuses raises here too: operands on two devices, NumPy's view of a tensor, random numbers of a generator of
the CPU. Where Python waits for the device is counted, by the line of the product that asks for a number.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses import fake_tensor
from torch.fx.experimental import proxy_tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from pipeline.command.settings import CONF

NAME = "pretend"


class Backend(backend_registration._DummyBackendModule):
    """torch.pretend.

    queue  functions that are called when Python next waits for all that the device was asked for
    """

    queue: list[Callable[[], None]] = []

    def synchronize(self, device=None) -> None:
        while self.queue:
            self.queue.pop(0)()


backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())
torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(numbers, device=DEVICE) copies what was made on the CPU
DEVICE = torch.device(NAME, 0)

aten = torch.ops.aten
# What gives Python a number, or a tensor whose shape depends on numbers.
WAITING = {
    "_linalg_check_errors",
    "_linalg_eigh",
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}  # by tensors on the CPU, too

waits: Counter[str] = Counter()  # "file.py:function" of the product -> how often it has waited for the device


class Pretended(torch.Tensor):
    """`held` are its numbers."""

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operator, types, arguments=(), options=None):
        return _called(operator, arguments, options or {})

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, other):
        if other.shape != self.shape or other.dtype != self.dtype:
            raise NotImplementedError("data of another form")
        self.held = other.held

    def numpy(self, *arguments, **options):
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first")

    def tolist(self):
        return self.cpu().tolist()

    def data_ptr(self):
        return self.held.data_ptr()

    def __deepcopy__(self, memo):
        copied = Pretended(self.held.clone()).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            copied._is_param = True
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol):  # saved files are read by machines without the device
        return self.held.detach().__reduce_ex__(protocol)

    def __repr__(self):
        return f"Pretended({self.held})"


# Constants of what is traced, as the tensors of other devices are.
proxy_tensor.HANDLED_TYPES += (Pretended,)
_is_foreign = fake_tensor._check_for_subclass_arg
fake_tensor._check_for_subclass_arg = lambda one: not isinstance(one, Pretended) and _is_foreign(one)


def _called(operator, arguments, options):
    name, given = (
        operator.overloadpacket.__name__,
        [one for one in tree_leaves((arguments, options)) if isinstance(one, torch.Tensor)],
    )
    if name in ("_to_copy", "copy_") and (moved := _moved(name, arguments, options)) is not None:
        return moved
    elsewhere = [one for one in given if not isinstance(one, Pretended)]
    if any(isinstance(one, Pretended) for one in given):
        apart = [one for one in elsewhere if one.dim() and name not in INDEXING]
        written = [*arguments[: name.endswith("_")], *(one for key, one in options.items() if key.startswith("out"))]
        apart += [one for one in written if isinstance(one, torch.Tensor) and not isinstance(one, Pretended)]
        if apart:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found {DEVICE} and cpu ({operator})"
            )
    if any(isinstance(one, torch.Generator) for one in tree_leaves((arguments, options))):
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu' ({operator})")
    masked = name in INDEXING and any(one.dtype == torch.bool for one in given[1:])
    if name in WAITING or masked and name != "index_put_":
        waits[_asker()] += 1
    options = {key: torch.device("cpu") if key == "device" and one is not None else one for key, one in options.items()}
    held = operator(*tree_map(_held, arguments), **tree_map(_held, options))
    if name == "_local_scalar_dense":
        return held
    found = tree_map(lambda one: Pretended(one) if isinstance(one, torch.Tensor) else one, held)
    return return_and_correct_aliasing(operator, arguments, options, found)


def _moved(name: str, arguments: tuple, options: dict):
    """A copy from one device to the other; None for one within a device."""
    if name == "copy_":
        to, of = arguments[:2]
        if isinstance(to, Pretended) == isinstance(of, Pretended):
            return None
        if isinstance(of, Pretended):
            waits[_asker()] += 1
        _held(to).copy_(_held(of))
        return to
    [of], device = arguments, options.get("device")
    if device is None or isinstance(of, Pretended) == (torch.device(device).type == NAME):
        return None
    if isinstance(of, Pretended):
        waits[_asker()] += 1
    copied = aten._to_copy.default(_held(of), **options | {"device": torch.device("cpu"), "non_blocking": False})
    return copied if isinstance(of, Pretended) else Pretended(copied)


def _held(one):
    return one.held if isinstance(one, Pretended) else one


def _asker() -> str:
    """The function of the product that runs."""
    frame, product = sys._getframe(), str(CONF.parent / "pipeline")
    while frame is not None and not frame.f_code.co_filename.startswith(product):
        frame = frame.f_back
    if frame is None:
        return "outside"
    return f"{frame.f_code.co_filename.removeprefix(product + '/')}:{frame.f_code.co_name}"


class _Factories(TorchDispatchMode):
    """Has what is made on the device made there."""

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        options = options or {}
        device = options.get("device")
        given = tree_leaves((arguments, options))
        if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:  # something is traced
            return operator(*arguments, **options)
        if any(isinstance(one, Pretended) for one in given) or device is not None and torch.device(device).type == NAME:
            return _called(operator, arguments, options)
        return operator(*arguments, **options)


@contextmanager
def pretended() -> Iterator[None]:
    """Within it the device is there; `waits` begins at none."""
    waits.clear()
    with _Factories():
        yield


def move(module: nn.Module) -> None:
    """A module to the device; its parameters stay the objects that they are."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        module.to(DEVICE)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


@contextmanager
def training_on_it() -> Iterator[None]:
    """Within it runs are trained there, whatever they ask for."""
    from pytorch_lightning.accelerators import CPUAccelerator
    from pytorch_lightning.strategies import SingleDeviceStrategy

    from pipeline.runs import training

    class Accelerator(CPUAccelerator):
        def setup_device(self, device):
            pass

    class Strategy(SingleDeviceStrategy):
        def model_to_device(self):
            move(self.model)

        def teardown(self):
            pass

    class Trainer(training.lightning.Trainer):
        def __init__(self, accelerator, devices, strategy, **options):
            super().__init__(strategy=Strategy(DEVICE, Accelerator()), **options)

    before = training.lightning.Trainer
    training.lightning.Trainer = Trainer
    try:
        with pretended():
            yield
    finally:
        training.lightning.Trainer = before
