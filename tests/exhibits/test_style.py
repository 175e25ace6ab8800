"""The colours of the page, read from its style."""

import re

import pytest

from pipeline.report import TEMPLATES
from tests.exhibits.contrast import contrast

LIGHT, DARK, PRINT = (
    dict(re.findall(r"--(\w+): (#\w+)", block))
    for block in re.findall(r":root \{(.*?)\}", (TEMPLATES / "style.css").read_text(), re.DOTALL)
)


@pytest.mark.parametrize("own", [{}, DARK, PRINT], ids=["light", "dark", "print"])
def test_text_has_a_contrast_of_four_and_a_half(own):
    colours = LIGHT | own
    pairs = [(text, on) for text in ("ink", "soft", "accent") for on in ("paper", "tint")]
    pairs += [("ink", "mark"), ("ink", "grid")]
    assert {pair for pair in pairs if contrast(*(colours[name] for name in pair)) < 4.5} == set()
    assert min(contrast("#fff", colours[name]) for name in ("good", "bad")) >= 4.5


def test_contrast_is_that_of_the_standard():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777", "#fff") == pytest.approx(4.48, abs=0.005)
