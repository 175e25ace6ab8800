"""The optimizers against their equations, with every constant of conf/optimizer written out here."""

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_class, instantiate

from pipeline.command.settings import CONF
from tests.conftest import composed, lacks

START = np.array([1.0, -2.0, 0.5])
# Entries so small that what is added under or beside a root shows too, and signs that change.
GRADIENTS = np.array([[0.3, -1e-4, 2e-8], [-0.2, 2e-4, -1e-8], [0.4, 1e-4, 3e-8], [0.1, -3e-4, 1e-8]])


def sgd(w, gradients):
    for g in gradients:
        w = w - 0.5 * g
    return w


def momentum(w, gradients):
    """v <- 0.9 v - 0.1 g, w <- w + v."""
    v = np.zeros_like(w)
    for g in gradients:
        v = 0.9 * v - 0.1 * g
        w = w + v
    return w


def nesterov(w, gradients):
    """As momentum, at the place that the next step of v leads to (Sutskever et al. 2013): w = theta + 0.9 v."""
    v = np.zeros_like(w)
    theta = w
    for g in gradients:
        v = 0.9 * v - 0.1 * g
        theta = theta + v
    return theta + 0.9 * v


def adagrad(w, gradients):
    """w <- w - 0.1 g / sqrt(1e-8 + sum of g^2)."""
    squares = np.zeros_like(w)
    for g in gradients:
        squares = squares + g**2
        w = w - 0.1 * g / np.sqrt(1e-8 + squares)
    return w


def rmsprop(w, gradients):
    """s <- 0.95 s + 0.05 g^2, w <- w - 0.002 g / (sqrt(s) + 1e-8)."""
    s = np.zeros_like(w)
    for g in gradients:
        s = 0.95 * s + 0.05 * g**2
        w = w - 0.002 * g / (np.sqrt(s) + 1e-8)
    return w


def adam(w, gradients, decay=0.0):
    """Kingma & Ba 2015, algorithm 1: 0.9, 0.999, 1e-8; the decay of Loshchilov & Hutter 2019, algorithm 2."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w = w - 0.002 * (step + decay * w)
    return w


def adamw(w, gradients):
    return adam(w, gradients, decay=0.01)


EQUATIONS = (sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw)


def by_step(name: str) -> bool:
    """Whether a choice of `optimizer` is one of PyTorch's kind, which moves the parameters it is given by their
    gradients."""
    target = yaml.safe_load((CONF / "optimizer" / f"{name}.yaml").read_text()).get("_target_")
    return target is not None and issubclass(get_class(target), torch.optim.Optimizer)


NAMES = sorted(file.stem for file in (CONF / "optimizer").glob("*.yaml"))


@pytest.mark.parametrize("name", [name for name in NAMES if by_step(name)])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_steps_are_those_of_the_equation(name, steps):
    equation = {one.__name__: one for one in EQUATIONS}.get(name)
    if equation is None:
        lacks(name, "write its equation in NumPy into EQUATIONS of tests/learning/test_optimizers.py")
    choice = composed(f"optimizer={name}").optimizer
    parameter = torch.nn.Parameter(torch.tensor(START))
    settings = {key: value for key, value in choice.items() if key not in ("name", "rule")}
    optimizer = instantiate(settings)([parameter])
    for g in GRADIENTS[:steps]:
        parameter.grad = torch.tensor(g)
        optimizer.step()
    moved = parameter.detach().numpy() - START
    np.testing.assert_allclose(moved, equation(START, GRADIENTS[:steps]) - START, rtol=1e-6, atol=1e-15)


def test_what_learns_in_one_pass_makes_one():
    for name in ("ridge", "count"):
        assert composed(f"optimizer={name}", "trainer=passes").optimizer.passes == 1
    cfg = composed("optimizer=em", "trainer=passes", "scale=smoke")
    assert cfg.optimizer.passes == cfg.scale.passes == 3
