"""A folder as UCF101's is: frames of each video, a video in a file, and the lists."""

import re

import numpy as np
import pytest
from PIL import Image

from pipeline.command.refusal import Refusal
from pipeline.datasets.ucf101 import LISTS, UCF101

CLASSES = ("Archery", "Biking")


@pytest.fixture
def folder(tmp_path):
    """Two classes, groups 1 (which tests) to 4, a video of 5 frames each: frame t of group g is all (40 t, 10 g, 200
    where it is Biking)."""
    lists = {"trainlist01.txt": [], "testlist01.txt": []}
    for kind, name in enumerate(CLASSES):
        for group in range(1, 5):
            video = f"{name}/v_{name}_g{group:02}_c01"
            (tmp_path / video).mkdir(parents=True)
            for t in range(5):
                picture = Image.new("RGB", (8, 6), (40 * t, 10 * group, 200 * kind))
                picture.save(tmp_path / video / f"frame{t:03}.png")
            if group == 1:
                lists["testlist01.txt"].append(f"{video}.avi")
            else:
                lists["trainlist01.txt"].append(f"{video}.avi {kind + 1}")
    (tmp_path / LISTS).mkdir()
    (tmp_path / LISTS / "classInd.txt").write_text("1 Archery\r\n2 Biking\r\n\r\n")
    for name, lines in lists.items():
        (tmp_path / LISTS / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def opened(folder, **changes) -> UCF101:
    settings = {"split": 1, "validation": 3, "frames": 3, "side": 2, "seed": 0} | changes
    return UCF101(str(folder), **settings)


def test_frames_are_read_at_even_steps_and_groups_stay_together(folder):
    data = opened(folder)
    assert data.card["counts"] == {"train": 12, "validation": 6, "test": 6}
    groups = {
        part: {round(one.inputs[0, 4] * 25.5) for one in map(some.__getitem__, range(len(some)))}
        for part, some in data.parts.items()
    }
    assert groups == {"train": {2, 3}, "validation": {4}, "test": {1}}
    inputs, targets, _ = data.parts["test"][1]
    expected = np.repeat([[0, 10, 200], [80, 10, 200], [160, 10, 200]], 4, axis=1) / 255
    np.testing.assert_allclose(inputs, expected)
    assert targets.tolist() == [1, 1, 1]
    assert opened(folder, frames=9).parts["test"][0].inputs.shape == (5, 12)  # no more than there are


def test_a_video_in_a_file_is_read_too(folder):
    av = pytest.importorskip("av")
    name = "Archery/v_Archery_g01_c01"
    for file in (folder / name).iterdir():
        file.unlink()
    (folder / name).rmdir()
    with av.open(str(folder / f"{name}.avi"), "w") as video:
        stream = video.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for t in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * t, np.uint8), format="rgb24")
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    inputs, _, _ = opened(folder, frames=2).parts["test"][0]
    np.testing.assert_allclose(inputs * 255, np.repeat([[0.0], [200.0]], 12, axis=1), atol=6)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda folder: (folder / LISTS / "classInd.txt").unlink(), f"there is no {LISTS}/classInd.txt: take the fold"),
        (
            lambda folder: (folder / LISTS / "testlist01.txt").write_text("Rowing/v_Rowing_g01_c01.avi\n"),
            "names no video of a class of classInd.txt",
        ),
        (
            lambda folder: (folder / LISTS / "classInd.txt").write_text("Archery\nBiking\n"),
            "classInd.txt: 'Archery' is no number and name of a class: take the official lists",
        ),
        (
            lambda folder: (folder / LISTS / "trainlist01.txt").write_bytes(b"caf\xe9\n"),
            "trainlist01.txt, byte 3: it is not UTF-8: take the official lists",
        ),
        (
            lambda folder: [one.unlink() for one in (folder / "Biking/v_Biking_g01_c01").iterdir()],
            "there are no frames in Biking/v_Biking_g01_c01/, and no Biking/v_Biking_g01_c01.avi: take the folder",
        ),
    ],
)
def test_what_is_missing_is_named(folder, spoil, said):
    spoil(folder)
    with pytest.raises(Refusal, match=re.escape(said)):
        opened(folder)


def test_frames_are_decoded_as_other_pictures_are(folder):
    frames = sorted((folder / "Archery/v_Archery_g01_c01").iterdir())
    Image.new("RGBA", (8, 6), (0, 0, 0, 0)).save(frames[0])
    Image.new("I;16", (8, 6), 40 * 256).save(frames[2])
    frames[4].write_bytes(frames[4].read_bytes()[:45])
    inputs = opened(folder, frames=5, side=2).parts["test"]
    with pytest.raises(Refusal, match="frame004.png: corrupt, cut or no picture: extract the frames again"):
        inputs[0]
    Image.new("RGB", (8, 6)).save(frames[4])
    read, _, _ = inputs[0]
    assert (read[0] == 1).all()  # what is transparent lies on white
    np.testing.assert_allclose(read[2], 40 / 255)


def test_a_folder_that_is_none_is_refused():
    with pytest.raises(Refusal, match="^data.path=null: UCF101 is not fetched: take the folder with CLASS/VIDEO.avi"):
        UCF101(None, 1, 3, 3, 2, 0)
