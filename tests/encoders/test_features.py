"""Features are the encoder's own, kept under all that decides them, and made on after a kill."""

import multiprocessing
import time
import weakref

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.encoders import features as module
from pipeline.encoders.features import features, folder_of
from pipeline.encoders.pixels import Pixels
from pipeline.encoders.small_cnn import SmallCNN
from tests.encoders.pictures import DrawnPictures


def small_cnn(**changed) -> SmallCNN:
    return SmallCNN(
        **{"channels": [4, 6], "dense": [], "cells": 2, "size": 16, "crop": 0.9, "seed": 0, "fine_tune": False}
        | changed
    )


def test_features_are_those_of_the_encoder_picture_by_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", {"cpu": 4, "cuda": 4})
    monkeypatch.setattr(module, "BLOCK", 12)
    pictures, encoder = DrawnPictures(tmp_path, 30), small_cnn()
    found = features(pictures, encoder, tmp_path / "features")  # by worker processes
    assert found.shape == (30, 24) and found.dtype == np.float32 and isinstance(found, np.memmap)
    network = encoder.network()
    for k in range(30):
        alone = network(torch.from_numpy(encoder.preprocess(pictures.open(k)).copy())[None])[0]
        np.testing.assert_allclose(found[k], alone.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert np.ptp(found, axis=0).max() > 0.01


def test_one_decoded_picture_is_held_at_a_time(tmp_path):
    opened = []

    class Watched(DrawnPictures):
        def open(self, k: int):
            assert all(picture() is None for picture in opened)
            picture = super().open(k)
            opened.append(weakref.ref(picture))
            return picture

    features(Watched(tmp_path, 10), small_cnn(), tmp_path / "features")
    assert len(opened) == 10 and all(picture() is None for picture in opened)


def test_they_are_made_once_and_a_change_is_noticed(tmp_path):
    pictures, encoder, root = DrawnPictures(tmp_path, 5), small_cnn(), tmp_path / "features"
    before = features(pictures, encoder, root).copy()
    (pictures.directory / pictures.names[0]).unlink()
    np.testing.assert_array_equal(features(pictures, encoder, root), before)
    [directory] = root.glob("small_cnn-*")
    content = bytearray((directory / "features.npy").read_bytes())
    content[-1] ^= 1
    (directory / "features.npy").write_bytes(content)
    with pytest.raises(Refusal, match="is damaged.*remove .*small_cnn"):
        features(pictures, encoder, root)
    directory.rename(str(directory).replace(encoder.key[:12], small_cnn(seed=1).key[:12]))
    with pytest.raises(Refusal, match="holds the features of another encoder"):
        features(pictures, small_cnn(seed=1), root)


def test_a_picture_that_is_gone_is_named_in_one_line_whatever_process_read_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", {"cpu": 2, "cuda": 2})
    for count in (4, 20):  # without workers, and with them
        pictures = DrawnPictures(tmp_path / str(count), count)
        (pictures.directory / "003.png").unlink()
        with pytest.raises(Refusal) as refusal:
            features(pictures, small_cnn(), tmp_path / str(count) / "features")
        assert str(refusal.value) == f"{pictures.directory}/003.png is missing: prepare again"


class Slow(DrawnPictures):
    def open(self, k: int):
        time.sleep(0.01)
        return super().open(k)


def test_killed_in_the_middle_it_goes_on_and_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", {"cpu": 4, "cuda": 4})
    monkeypatch.setattr(module, "BLOCK", 8)
    slow, root = Slow(tmp_path, 60), tmp_path / "features"
    process = multiprocessing.get_context("fork").Process(target=features, args=(slow, small_cnn(), root))
    process.start()
    while not (landed := list(root.glob("small_cnn-*/made.json"))):
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    [made] = landed
    with (made.parent / "features.npy").open("ab") as file:  # of a block that had not landed
        file.write(b"half a block")
    assert not (made.parent / "card.json").exists()

    again = DrawnPictures(tmp_path / "again", 60)
    opened, original = [], module.Decoded.__getitem__
    monkeypatch.setattr(
        module.Decoded, "__getitem__", lambda self, k: opened.extend(self.batches[k]) or original(self, k)
    )
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: ())  # decoded in this process
    found = features(again, small_cnn(), root)
    assert opened and opened[0] > 0 and opened[0] % 8 == 0 and opened == list(range(opened[0], 60))
    whole = features(again, small_cnn(), tmp_path / "whole")
    assert found.tobytes() == whole.tobytes()
    assert sorted(path.name for path in made.parent.iterdir()) == ["card.json", "features.npy"]


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"crop": 0.8}, {"size": 24}, {"cells": 1}, {"channels": [5, 6]}, {"channels": [4, 4, 6]}]
)
def test_whatever_decides_the_features_has_a_key_of_its_own(changed):
    assert small_cnn().key == small_cnn().key != small_cnn(**changed).key
    assert len({small_cnn(**changed).key, Pixels(16, 1.0).key, Pixels(16, 0.5).key, Pixels(8, 1.0).key}) == 4


def test_other_pictures_and_an_encoder_that_is_learned_have_folders_of_their_own(tmp_path):
    root = tmp_path / "features"
    for seed in range(2):
        features(DrawnPictures(tmp_path / str(seed), 3, seed), small_cnn(), root)
    learned, pictures = small_cnn(fine_tune=True), DrawnPictures(tmp_path / "2", 3)
    found = features(pictures, learned, root)
    assert len(list(root.glob("small_cnn-*"))) == 3 and folder_of(learned) != folder_of(small_cnn())
    assert found.dtype == np.uint8 and found.shape == (3, 3 * 16**2)
    np.testing.assert_array_equal(found[1].reshape(3, 16, 16), learned.preprocess(pictures.open(1)))
