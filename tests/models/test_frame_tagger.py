"""The networks of frames: what their convolutions are, and what of other frames they see."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from pipeline.datasets.space import Image, Reals, Symbols
from pipeline.models.cnn import CNN
from pipeline.models.frame_tagger import FrameTagger
from pipeline.models.frames import Frames
from tests.conftest import composed

READS, ANSWERS = Image(shape=(2, 5, 4)), Symbols(3, "class")


def tagger() -> FrameTagger:
    torch.manual_seed(0)
    cell = instantiate(composed().model.cell)
    return FrameTagger(READS, ANSWERS, (), [3, 4], 6, cell, layers=1, hidden=5, dropout=0.0).double()


def cnn() -> CNN:
    torch.manual_seed(0)
    return CNN(READS, ANSWERS, (), [3, 4], 6, hidden=7, dropout=0.0).double()


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """[C, H, W] -> what kernels [O, C, 3, 3] see at every second row and column, zeros around, rectified."""
    _, height, width = x.shape
    around = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    rows, columns = range(0, height, 2), range(0, width, 2)
    seen = [[(weight * around[:, r : r + 3, c : c + 3]).sum((1, 2, 3)) + bias for c in columns] for r in rows]
    return np.maximum(np.array(seen).transpose(2, 0, 1), 0)


def test_features_are_those_of_two_convolutions_and_a_layer():
    torch.manual_seed(1)
    frames, x = Frames(READS, [3, 4], 6).double(), torch.randn(2, 3, 40, dtype=torch.float64)
    for bias in (*(one.bias for one in frames.convolutions), frames.features.bias):
        torch.nn.init.normal_(bias)
    found = frames(x).detach().numpy()
    numbers = {name: part.detach().numpy() for name, part in frames.named_parameters()}
    for t in range(2):
        for b in range(3):
            a = x[t, b].numpy().reshape(2, 5, 4)
            for k in range(2):
                a = convolved(a, numbers[f"convolutions.{k}.weight"], numbers[f"convolutions.{k}.bias"])
            expected = np.maximum(numbers["features.weight"] @ a.ravel() + numbers["features.bias"], 0)
            np.testing.assert_allclose(found[t, b], expected)


@pytest.mark.parametrize("make, remembers", [(tagger, True), (cnn, False)])
def test_what_a_frames_answer_depends_on(make, remembers):
    net, x = make(), torch.randn(4, 2, 40, dtype=torch.float64, requires_grad=True)
    z, _ = net(x, net.start(2))
    (gradient,) = torch.autograd.grad(z[2, 0].square().sum(), x)
    reached = gradient.abs().sum(-1) > 0
    assert reached[:, 0].tolist() == [remembers, remembers, True, False] and not reached[:, 1].any()
    first, state = net(x[:1], net.start(2))
    last, _ = net(x[1:], state)
    torch.testing.assert_close(torch.cat([first, last]), z)


def test_parameters_have_roles_and_are_counted():
    convolutions = 3 * (2 * 9 + 1) + 4 * (3 * 9 + 1)
    features = 6 * (4 * 2 * 1 + 1)
    assert tagger().count_parameters() == convolutions + features + 4 * 5 * (6 + 5 + 1) + 3 * (5 + 1)
    assert cnn().count_parameters() == convolutions + features + 7 * (6 + 1) + 3 * (7 + 1)
    for net in (tagger(), cnn()):
        biases = {id(parameter) for role, parameter in net.parameters_by_role() if role == "bias"}
        named = {id(parameter) for name, parameter in net.named_parameters() if name.endswith("bias")}
        assert biases == named


@pytest.mark.parametrize("model", [CNN, FrameTagger])
def test_pictures_are_wanted(model):
    assert model.fits(SimpleNamespace(reads=READS, given=())) is None
    assert model.fits(SimpleNamespace(reads=Reals(40), given=())).startswith("reads pictures: take data=fashion_mnist")
