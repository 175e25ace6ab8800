"""The parameters of a small network as one vector."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn, optim

# They treat every number by itself, so that the numbers of all parameters may lie in one vector.
ELEMENTWISE = (optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adam, optim.AdamW)
SMALL = 2**20  # numbers of all parameters below which an optimizer's calls take longer than what they do


class Flat:
    """vector = [w_1 .. w_n], of parameters that become parts of it: a step of an optimizer on it does, to the bit, what
    a step on each of them does, by a few operators instead of a few for each.

    parameters  of one dtype, on one device
    """

    def __init__(self, parameters: list[nn.Parameter]):
        self.parameters = parameters
        self.vector = nn.Parameter(torch.cat([one.detach().flatten() for one in parameters]))
        for one, part in zip(parameters, self._parts(self.vector.detach()), strict=True):
            one.data = part

    @staticmethod
    def suits(optimizer: optim.Optimizer, parameters: list[nn.Parameter]) -> bool:
        alike = {(one.dtype, one.device) for one in parameters}
        return type(optimizer) in ELEMENTWISE and len(alike) == 1 and sum(map(torch.numel, parameters)) < SMALL

    @staticmethod
    def joins(states: dict) -> bool:
        """Whether the state_dict of an optimizer on each parameter can be that of one on a vector: not where a
        parameter was left alone in a step, for want of a gradient."""
        [group] = states["param_groups"]
        every = [states["state"].get(index, {}) for index in group["params"]]
        return len({tuple(one) for one in every}) == 1 and len({float(one.get("step", 0)) for one in every}) == 1

    def over(self, make: Callable[[list[nn.Parameter]], optim.Optimizer]) -> optim.Optimizer:
        """An optimizer on the vector, whose state_dict is that of one on the parameters."""
        optimizer = make([self.vector])
        optimizer.register_state_dict_post_hook(lambda _, states: self._split(states))
        optimizer.register_load_state_dict_pre_hook(lambda _, states: self._join(states))
        return optimizer

    def collect(self, clip_norm: float | None) -> None:
        """The vector's gradient, from those of the parameters: each is to have one. Clipped as
        torch.nn.utils.clip_grad_norm_ does, to the bit."""
        gradients = [one.grad for one in self.parameters]
        self.vector.grad = torch.cat([one.flatten() for one in gradients])
        if clip_norm is not None:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            self.vector.grad.mul_((clip_norm / (norm + 1e-6)).clamp(max=1.0))

    def _parts(self, vector: Tensor) -> Iterator[Tensor]:
        """What of a vector is each parameter's, in its shape."""
        parts = vector.split([one.numel() for one in self.parameters])
        return (part.view(one.shape) for one, part in zip(self.parameters, parts, strict=True))

    def _split(self, states: dict) -> dict:
        found: list[dict] = [{} for _ in self.parameters]
        for name, value in states["state"].get(0, {}).items():
            parts = self._parts(value) if _is_whole(name, value) else [value] * len(found)
            for one, part in zip(found, parts, strict=True):
                one[name] = part.clone() if torch.is_tensor(part) else part
        return _over(states, found)

    def _join(self, states: dict) -> dict:
        every = [states["state"].get(index, {}) for index in range(len(self.parameters))]
        return _over(
            states,
            [
                {
                    name: torch.cat([one[name].flatten() for one in every]) if _is_whole(name, value) else value
                    for name, value in every[0].items()
                }
            ],
        )


def _is_whole(name: str, value: object) -> bool:
    """Whether an optimizer keeps a number of this name for each of a parameter's."""
    return torch.is_tensor(value) and name != "step"


def _over(states: dict, of: list[dict]) -> dict:
    [group] = states["param_groups"]
    state = {index: one for index, one in enumerate(of) if one}
    return {"state": state, "param_groups": [group | {"params": list(range(len(of)))}]}
