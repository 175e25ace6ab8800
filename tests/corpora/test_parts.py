import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora.parts import split_borders


def test_parts_are_contiguous_and_whole():
    parts = split_borders(309, "70-15-15", "data.length=309")
    assert [(part.start, part.stop) for part in parts.values()] == [(0, 216), (216, 262), (262, 309)]


def test_there_may_be_no_test_part():
    assert split_borders(101, "90-10", "") == {"train": slice(0, 90), "validation": slice(90, 101)}


@pytest.mark.parametrize("split", ["100", "90-20", "0-50-50", "80-10-5-5", "eighty-twenty", ""])
def test_what_is_no_split_is_refused(split):
    with pytest.raises(Refusal, match=f"data.split={split}: take per cent of training, validation and test part"):
        split_borders(1000, split, "")
