"""Objects that move: where they are, what hides them, and from which pictures they are."""

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.moving import Moving


def made(picture=None, **changes) -> Moving:
    """Pictures of 8 x 8 pixels, objects of 4 x 4; train shows class 0, validation 1, test 2."""
    picture = np.full((8, 8), 255) if picture is None else picture
    pools = {
        part: (np.stack([picture]).astype(np.uint8), np.array([k], np.uint8))
        for k, part in enumerate(("train", "validation", "test"))
    }
    settings = {"frames": 12, "side": 10, "noise": 0.0, "hidden": 0.0, "speed": 2.5, "seed": 3} | changes
    return Moving("moving", pools, "digit", ("a", "b", "c"), **settings, episodes=40, held=20)


def frames(data: Moving, part="train", count=30) -> np.ndarray:
    """[N, T, S, S]."""
    side = data.reads.shape[1]
    return np.stack([data.drawn(part, k).inputs.reshape(-1, side, side) for k in range(count)])


def test_objects_go_straight_and_come_back_at_the_edges():
    corner = np.zeros((8, 8))
    corner[:2, :2] = 255
    x = frames(made(corner))
    assert (x.sum((2, 3)) == 1).all()  # one pixel, the object's upper left
    place = np.argwhere(x)[:, 2:].reshape(*x.shape[:2], 2)
    assert place.min() == 0 and place.max() == 6
    at = place[:, 0, :, None, None] + np.linspace(-0.5, 0.5, 21)[:, None]
    speed = np.broadcast_to(np.linspace(-2.5, 2.5, 501), (*at.shape[:-1], 501)).copy()
    at, right = np.broadcast_to(at, speed.shape).copy(), True
    for t in range(12):  # some start and some speed, a step at a time, are where the object was seen
        right = right & (at > -1e-9) & (at < 6 + 1e-9) & (abs(at - place[:, t, :, None, None]) < 0.52)
        at += speed
        for edge, beyond in ((0, at < 0), (6, at > 6)):
            at[beyond], speed[beyond] = 2 * edge - at[beyond], -speed[beyond]
    assert right.any((2, 3)).all()


def test_the_fence_stands_still_and_hides_its_share():
    x = frames(made(hidden=0.5, side=14))
    for episode in x:
        columns = {column % 6 for column in np.flatnonzero(episode.any((0, 1)))}
        assert len(columns) <= 3  # of six, whatever has gone by
    assert 0.4 < x.sum() / frames(made(side=14)).sum() < 0.6


def test_noise_is_added_to_every_pixel_of_every_frame():
    x = frames(made(noise=0.5)) - frames(made())
    assert x.std() == pytest.approx(0.5, rel=0.02) and abs(x.mean()) < 0.01
    assert abs(np.corrcoef(x[:, 0].ravel(), x[:, 1].ravel())[0, 1]) < 0.05


def test_parts_have_their_own_pictures_and_every_frame_is_asked():
    data = made()
    for kind, part in enumerate(("train", "validation", "test")):
        assert (data.drawn(part, 4).targets == kind).all()
    [batch] = data.held_out("test")
    assert batch.inputs.shape == (12, 20, 100) and batch.count == 240
    assert made().card == data.card != made(np.zeros((8, 8))).card


def test_frames_are_written_in_letters_with_answers_below():
    class Seen:
        """The frames that are brighter than their mean are of class 1."""

        training, device, dtype = False, torch.device("cpu"), torch.float64
        eval = train = lambda self, mode=True: self

        def start(self, batch):
            return ()

        def __call__(self, x, state):
            bright = x.mean(-1) > 0.3
            return torch.stack([~bright, bright, 0 * bright], -1).double(), state

    data = made(frames=2, side=5, speed=0.0)
    first = "".join(data.write(Seen(), "", 1.0, 5, torch.Generator())).split("\n")[:5]
    x = data.drawn("test", 0).inputs.reshape(2, 5, 5)
    for row, line in enumerate(first[:3]):  # a letter is two pixels high
        padded = np.pad(x[0], ((0, 1), (0, 0)))[2 * row : 2 * row + 2].mean(0)
        assert line[8:13].ljust(5) == "".join(" ░▒▓█"[round(4 * one)] for one in padded)
    answer = "b" if x.mean() > 0.3 else "a"
    assert first[0].startswith("read    ") and [line.split() for line in first[3:]] == [
        ["answer", answer, answer],
        ["right", "c", "c"],
    ]


def test_objects_that_cannot_move_are_refused():
    with pytest.raises(Refusal, match="^data.side=4: objects are 4 pixels wide and are to move: take more$"):
        made(side=4)
