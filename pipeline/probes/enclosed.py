"""What stands within pairs of symbols, such as brackets or quotes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pipeline.datasets.data import Data


class Enclosed(NamedTuple):
    """After each symbol of a text has been read, [n] each.

    depth     pairs that are open
    distance  from the opening symbol of the innermost of them to the symbol that follows; 0 where none is open
    """

    depth: np.ndarray
    distance: np.ndarray


def symbol_of(data: "Data", text: str) -> int | None:
    """The index of a symbol of the data's vocabulary; None where they have none such."""
    vocabulary = getattr(data, "vocabulary", None)
    if vocabulary is None or vocabulary.unknown_in(text):
        return None
    indices = vocabulary.encode(text)
    return int(indices[0]) if len(indices) == 1 else None


def known_pairs(data: "Data", pairs: Iterable[str]) -> dict[str, tuple[int, int]]:
    """The symbols that open and close those of the pairs, such as "()", that the data's vocabulary has."""
    found = {pair: tuple(symbol_of(data, one) for one in pair) for pair in pairs if len(pair) == 2}
    return {pair: symbols for pair, symbols in found.items() if None not in symbols}


def matched(symbols: np.ndarray, opening: int, closing: int, line_break: int | None) -> list[tuple[int, int]]:
    """Places (i, j), i < j, of the symbols that open and close one pair, in the order in which they close.

    What is never closed, and what closes nothing, is left out. Where one symbol opens and closes, as a straight quote
    does, its occurrences take turns within a line; line_break is the symbol that ends one.
    """
    pairs, stack = [], []
    symmetric = opening == closing
    for place in np.flatnonzero(
        np.isin(symbols, [opening, closing] + [line_break] * (symmetric and line_break is not None))
    ):
        symbol = symbols[place]
        if symmetric and symbol == line_break:
            stack.clear()
        elif symbol == opening and not (symmetric and stack):
            stack.append(int(place))
        elif stack:
            pairs.append((stack.pop(), int(place)))
    return pairs


def enclosed(symbols: np.ndarray, opening: int, closing: int, line_break: int | None) -> Enclosed:
    """Arguments as `matched`."""
    n = len(symbols)
    depth, distance = np.zeros(n, np.int64), np.zeros(n, np.int64)
    pairs = matched(symbols, opening, closing, line_break)
    for i, j in reversed(pairs):  # outer pairs first, so that inner ones overwrite their distances
        depth[i:j] += 1
        distance[i:j] = np.arange(1, j - i + 1)
    return Enclosed(depth, distance)
