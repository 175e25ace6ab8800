"""Pictures of clothes, in small files of the package's form."""

import gzip
import struct

import numpy as np
import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora.corpus import CorpusError
from pipeline.datasets.fashion_mnist import FILES, FashionMNIST, read_idx


def packed(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def made(tmp_path, monkeypatch, validation=2):
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(10 if "labels" in name else 256, size=7, dtype=np.uint8) for name in FILES}
    for name in ("train_images", "test_images"):
        arrays[name] = rng.integers(256, size=(7, 28, 28), dtype=np.uint8)
    paths = [tmp_path / file for file in FILES.values()]
    for path, array in zip(paths, arrays.values()):
        path.write_bytes(packed(array))
    clothes = FashionMNIST("fashion_mnist", "unused", validation, 0)
    read = clothes.arrays(paths)
    monkeypatch.setattr(FashionMNIST, "read", lambda self, local: read)
    return arrays, clothes.open()


def test_a_sequence_is_one_picture_and_its_kind_is_asked(tmp_path, monkeypatch):
    arrays, data = made(tmp_path, monkeypatch)
    assert data.card["counts"] == {"train": 5, "validation": 2, "test": 7}
    [batch] = data.held_out("validation")
    assert batch.inputs.shape == (1, 2, 784) and batch.count == 2
    np.testing.assert_array_equal(batch.inputs[0].numpy() * 255, arrays["train_images"][5:].reshape(2, -1))
    np.testing.assert_array_equal(batch.targets[0], arrays["train_labels"][5:])
    batches = data.training(2, None)
    read = [batches.at(step) for step in range(len(batches))]
    pairs = sorted(
        (int(label), round(255 * float(picture.sum())))
        for one in read
        for label, picture in zip(one.targets[0], one.inputs[0])
        if label < 10
    )
    expected = zip(arrays["train_labels"][:5].tolist(), arrays["train_images"][:5].sum((1, 2)).tolist())
    assert pairs == sorted(expected)


def test_what_leaves_nothing_or_is_no_idx_file_is_refused(tmp_path, monkeypatch):
    with pytest.raises(Refusal, match="^data.validation=7: take fewer than the 7 training pictures$"):
        made(tmp_path, monkeypatch, validation=7)
    whole = packed(np.zeros((3, 2), np.uint8))
    for content in (b"", whole[:-9], gzip.compress(b"\0\0\x09\x01"), packed(np.zeros(5, np.uint8))[:0] + b"x"):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(CorpusError, match="^a.gz is no IDX file: "):
            read_idx(tmp_path / "a.gz")
