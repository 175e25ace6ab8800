"""Numbers and texts as people read them."""

import math
import re
import unicodedata
from collections.abc import Mapping

NOTHING = "\N{EM DASH}"
MINUS = "\N{MINUS SIGN}"
DOUBT = "\N{DAGGER}"


def known(number: float | None) -> bool:
    """Whether there is a number and it is finite."""
    return number is not None and math.isfinite(number)


def written(number: float | None, digits: str = ".3f") -> str:
    """A number in its format, a smaller one than that has two digits for with two digits; an em dash if unknown."""
    if not known(number):
        return NOTHING
    return format(number, _fewer(digits, "2", number, 9.5))


def spread(number: float | None, digits: str = ".3f") -> str:
    """A standard deviation with its sign, at least one digit of it; nothing if there is none."""
    return "" if not known(number) else f"± {format(number, _fewer(digits, '1', number, 0.5))}"


def share(by_seed: Mapping[str, float | None]) -> str:
    """Of how many of its seeds a mean is, as "(2 of 3)"; nothing if it is of all or there is none."""
    having = sum(map(known, by_seed.values()))
    return f"({having} of {len(by_seed)})" if 0 < having < len(by_seed) else ""


def difference(number: float | None, digits: str = ".3f") -> str:
    """A difference in the format of its numbers, with its sign; an em dash if unknown."""
    return f"{number:+{digits}}".replace("-", MINUS) if known(number) else NOTHING


def count(number: float | None) -> str:
    """A number with separators of thousands, a decimal if below ten and not whole, an em dash if unknown."""
    if not known(number):
        return NOTHING
    return f"{number:,.1f}" if abs(number) < 10 and number != int(number) else f"{number:,.0f}"


def several(element: str) -> str:
    """Its plural: "chars", "classes"."""
    return element + ("es" if element.endswith("s") else "s")


def visible(text: str):
    """Escaped HTML of a text in which every character shows: control and format characters by number, as \\x07."""
    from markupsafe import Markup, escape

    def show(character: str) -> str:
        if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            return escape(character)
        code = ord(character)
        return Markup("<i>{}</i>").format(f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")

    return Markup("").join(map(show, text))


def _fewer(digits: str, enough: str, number: float, least: float) -> str:
    """`digits`, or `enough` significant ones where the number is below `least` units of its last digit."""
    decimals = re.fullmatch(r"\.(\d+)f", digits)
    return f".{enough}g" if decimals and 0 < abs(number) < least * 10 ** -int(decimals[1]) else digits
