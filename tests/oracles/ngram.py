"""Interpolated modified Kneser-Ney from the equations, with dictionaries."""

from collections import Counter, defaultdict


class KneserNey:
    """text: symbols 0..V-1, V unknown; a gram is a tuple of symbols that stand side by side, none of them unknown."""

    def __init__(self, text: list[int], V: int, order: int):
        self.V, self.order = V, order
        self.counts = {}  # gram length -> gram -> count
        for length in range(1, order + 1):
            seen, before = Counter(), defaultdict(set)
            for start in range(len(text) - length + 1):
                gram = tuple(text[start : start + length])
                if V not in gram:
                    seen[gram] += 1
                    before[gram].add(text[start - 1] if start > 0 else V)
            self.counts[length] = seen if length == order else {gram: len(symbols) for gram, symbols in before.items()}
        self.discounts = {length: self.discount(Counter(counts.values())) for length, counts in self.counts.items()}

    @staticmethod
    def discount(n: Counter) -> list[float]:
        """What is taken from counts of 0, 1, 2, and 3 or more, by the number n[j] of grams with count j."""
        if not all(n[j] for j in (1, 2, 3, 4)):
            return [0, 0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        d = [1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        return [0, *d] if min(d) > 0 else [0, 0.5, 1.0, 1.5]

    def p(self, symbol: int, context: list[int]) -> float:
        """Of the next symbol after these; symbols before an unknown one are not seen."""
        known = list(context)
        while self.V in known:
            known = known[known.index(self.V) + 1 :]
        return self.interpolated(symbol, tuple(known[max(0, len(known) - self.order + 1) :]))

    def interpolated(self, symbol: int, context: tuple[int, ...]) -> float:
        shorter = self.interpolated(symbol, context[1:]) if context else 1 / self.V
        counts, d = self.counts[len(context) + 1], self.discounts[len(context) + 1]
        after = [counts.get((*context, w), 0) for w in range(self.V)]
        if sum(after) == 0:
            return shorter
        left = sum(d[min(c, 3)] for c in after)
        return (after[symbol] - d[min(after[symbol], 3)] + left * shorter) / sum(after)
