import re

import numpy as np
import torch

from pipeline.probes.in_step import InStep
from tests.datasets.test_moving import made


class Late:
    """Answers class 0 before frame 3, class 2 from there on."""

    training, device, dtype = False, torch.device("cpu"), torch.float64
    restart = None
    eval = train = lambda self, mode=True: self

    def start(self, batch):
        return ()

    def __call__(self, x, state):
        z = torch.zeros(*x.shape[:2], 3)
        z[:3, :, 0] = z[3:, :, 2] = 1
        return z, state


def test_shares_by_frame_and_the_last_one():
    data, probe = made(noise=0.1), InStep()
    assert probe.fits(Late(), data)
    found = probe.measure(Late(), data, 0)  # all that is tested on is of class 2
    assert found["right"] == [0.0] * 3 + [1.0] * 9 and found["last"] == 1.0
    example = found["examples"][1]
    assert example["answers"] == ["a"] * 3 + ["c"] * 9 and example["is"] == "c" and found["shape"] == [10, 10]
    expected = np.clip(data.drawn("test", 1).inputs, 0, 1) * 255
    np.testing.assert_allclose(example["frames"], expected, atol=0.5)


def test_lines_and_frames_are_drawn():
    found = InStep().measure(Late(), made(), 0)
    row = {"data": "moving", "name": "late", "study": "s", "runs": [{"found": found}, {"found": found}]}
    lines, strips = InStep().show([row, row | {"name": "later"}])
    assert lines.title == "Right answers by frame: moving" and ">later</text>" in lines.html
    answers = re.findall(r'<text style="([^"]*)"[^>]*>([^<]*)</text>', strips.html)
    assert "<image " in strips.html and [text for _, text in answers].count("late") == 3
    bold = [("bold" in style or "700" in style) for style, text in answers if text == "c"]
    assert len(bold) == 2 * 3 * 9 + 3 and all(bold)  # what is right, and what it is
    assert not any("700" in style for style, text in answers if text == "a")
