"""Some of the cases that `make cases` tries, one of each kind, and what it takes for a case as wanted."""

import pytest

from tests.cases.checkout import Ended, checkout
from tests.cases.table import Case, read_table

SAMPLE = (
    "opt19",  # a choice that there is not
    "mod03",  # values that a setting cannot have
    "mod13",
    "mod33",  # a setting that there is not
    "trn27",
    "trn85",
    "pth09",  # files that cannot be read
    "pth17",
    "evl07",
    "rep09",  # damaged results, runs and texts
    "dmg05",
    "dmg07",
    "dat05",
    "ser25",
    "cli23",  # places outside
    "cli31",
)
CASES = {case.id: case for case in read_table()}

pytestmark = pytest.mark.xdist_group("cases")  # one checkout, one warm process


@pytest.fixture(scope="module")
def small():
    with checkout() as prepared:
        yield prepared


@pytest.mark.parametrize("id", SAMPLE)
def test_bad_input_is_refused_in_a_line(small, id):
    case = CASES[id]
    assert case.wrong(small.run(case.command)) is None


def test_a_command_has_its_own_copy_and_its_own_streams(small):
    for _ in range(2):
        ended = small.run("test -e mine || { touch mine; echo out; echo err >&2; exit 7; }")
        assert ended == Ended(7, "out\n", "err\n")
    assert small.run("T model.hidden=0; echo $?").out == "1\n"
    assert small.run("python -m pipeline.nothing").code == 1


@pytest.mark.parametrize(
    "wanted, ended, right",
    [
        ("refuse", Ended(1, "starts\n", "error: seed=x: take a number\n"), True),
        ("refuse", Ended(1, "", "error: seed=x:\ntake a number\n"), False),
        ("refuse", Ended(1, "", "warning: x\nerror: seed=x: take a number\n"), False),
        ("refuse", Ended(1, "", "seed=x: take a number\n"), False),
        ("refuse", Ended(2, "", "error: seed=x: take a number\n"), False),
        ("refuse", Ended(0, "", "error: seed=x: take a number\n"), False),
        ("refuse", Ended(1, "", ""), False),
        ("refuse", Ended(None, "", ""), False),
        ("ok", Ended(0, "finished\n", "warning: x\n"), True),
        ("ok", Ended(1, "", "error: seed=x: take a number\n"), False),
        ("ok", Ended(0, "Traceback (most recent call last):\nValueError\n", ""), False),
        ("soft", Ended(0, "", ""), True),
        ("soft", Ended(1, "", "error: a\nerror: b\n"), True),
        ("soft", Ended(1, "", "Traceback (most recent call last):\nValueError\n"), False),
        ("soft", Ended(-11, "", ""), False),
        ("soft", Ended(None, "", ""), False),
    ],
)
def test_what_is_as_wanted(wanted, ended, right):
    assert (Case("x", wanted, "").wrong(ended) is None) == right
