import pytest

from pipeline.exhibits.numbers import count, difference, several, share, spread, visible, written


@pytest.mark.parametrize(
    "number, digits, text",
    [
        (1.23456, ".3f", "1.235"),
        (0, ".3f", "0.000"),
        (0.0095, ".3f", "0.009"),
        (0.0094, ".3f", "0.0094"),
        (-0.000123, ".3f", "-0.00012"),
        (0.04, ".1f", "0.04"),
        (0.5, ".1%", "50.0%"),
        (12345.678, ".4g", "1.235e+04"),
        (None, ".3f", "—"),
        (float("nan"), ".3f", "—"),
        (float("inf"), ".3f", "—"),
    ],
)
def test_a_number_has_its_digits_and_never_fewer_than_two(number, digits, text):
    assert written(number, digits) == text


@pytest.mark.parametrize(
    "number, digits, text",
    [
        (0.0123, ".3f", "± 0.012"),
        (0, ".3f", "± 0.000"),
        (0.0005, ".3f", "± 0.001"),
        (0.0004, ".3f", "± 0.0004"),
        (0.0123, ".1%", "± 1.2%"),
        (None, ".3f", ""),
        (float("nan"), ".3f", ""),
    ],
)
def test_a_spread_has_its_sign_and_never_no_digit(number, digits, text):
    assert spread(number, digits) == text


def test_a_difference_has_its_sign():
    assert [difference(number) for number in (0.1234, -0.1234, None)] == ["+0.123", "−0.123", "—"]
    assert difference(-0.05, ".1%") == "−5.0%"


def test_a_mean_of_some_seeds_says_of_how_many():
    seeds = {"0": 1.5, "1": None, "2": 1.6}
    assert [share(one) for one in (seeds, {"0": 1.5}, {"0": None}, {})] == ["(2 of 3)", "", "", ""]


def test_counts():
    assert [count(number) for number in (None, 0, 3, 3.25, 12345.6)] == ["—", "0", "3", "3.2", "12,346"]


def test_several():
    assert [several(element) for element in ("char", "class")] == ["chars", "classes"]


def test_visible():
    assert str(visible("a<b>&\t\n")) == "a&lt;b&gt;&amp;\t\n"
    assert str(visible("\x07\x7f\x85")) == "<i>\\x07</i><i>\\x7f</i><i>\\x85</i>"
    assert str(visible("é你🙂\ufffd")) == "é你🙂\ufffd"
