"""Whether hidden units say that the text is inside quotes, or another pair of symbols."""

from typing import Annotated

from annotated_types import Ge

from pipeline.command.setting import Pairs
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.gallery import folded
from pipeline.exhibits.numbers import visible, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe

EXCERPT = 600  # symbols that are shown
BEFORE = 60  # of them before the first opening symbol
SHADES = 6  # of a colour
ABOVE, BELOW = "213, 94, 0", "0, 114, 178"  # of exhibits.figures.COLOURS


class Inside(Probe):
    """y_t = [w . h_t + b > 0]: logistic regression on the hidden units h_t of all layers, whether the text is inside a
    pair of symbols after element t (Karpathy, Johnson & Fei-Fei 2015 found single units that say it). Fitted to the
    first half of what is read, judged on the second by the share of places that are right, 0..1, beside that of the
    class that the first half has more of; and the single unit that tells best in the first half whether it is above or
    below a threshold. Measured in the mean over pairs.

    pairs     the opening and the closing symbol of each, as "()"; between straight quotes is told within lines
    elements  of the held-out part that are read
    """

    measures = {
        "inside": Measure(digits=".1%", better="high", title="inside, all units"),
        "unit": Measure(digits=".1%", better="high", title="inside, best unit"),
        "majority": Measure(digits=".1%", better="high", title="inside, majority"),
    }

    def __init__(self, pairs: Pairs, elements: Annotated[int, Ge(100)]):
        self.pairs, self.elements = list(pairs), elements

    def fits(self, network, data) -> bool:
        from pipeline.probes.enclosed import known_pairs

        return network.has_activities and data.foretells and data.contiguous and bool(known_pairs(data, self.pairs))

    def measure(self, network, data, seed: int) -> dict:
        """{"inside", "unit", "majority": means over pairs, None of no pair; "pairs": {pair: the same of it, "best":
        {"unit" from 1, "threshold", "above": whether it is above it inside}, "excerpt": [[text, activation, inside] a
        symbol], of the second half}}; a pair is left out that one half has everywhere or nowhere."""
        import numpy as np

        from pipeline.probes.enclosed import enclosed, known_pairs, symbol_of

        part = data.judged_on
        symbols = np.asarray(data.parts[part][: self.elements]).astype(np.int64)
        at, h = states(network, data, part, self.elements)
        first, pairs = at < len(symbols) // 2, {}
        for pair, (opening, closing) in known_pairs(data, self.pairs).items():
            inside = enclosed(symbols, opening, closing, symbol_of(data, "\n")).depth > 0
            y = inside[at]
            if any(len(set(y[half])) < 2 for half in (first, ~first)):
                continue
            unit, threshold, above = best_unit(h[first], y[first])
            majority = y[first].mean() > 0.5
            pairs[pair] = {
                "inside": linear_accuracy(h[first], y[first], h[~first], y[~first]),
                "unit": float(((h[~first, unit] > threshold) == (y[~first] == above)).mean()),
                "majority": float((y[~first] == majority).mean()),
                "best": {"unit": unit + 1, "threshold": threshold, "above": above},
                "excerpt": passage(data, symbols, inside, at[~first], h[~first, unit]),
            }
        means = {
            name: sum(one[name] for one in pairs.values()) / len(pairs) if pairs else None for name in self.measures
        }
        return means | {"pairs": pairs}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        lines, parts = [], []
        for row in rows:
            for run in row["runs"]:
                for pair, found in run["found"]["pairs"].items():
                    name, best = f"{row['label']}, seed {run['seed']}", found["best"]
                    shares = [written(found[key], ".1%") for key in self.measures]
                    side = "above" if best["above"] else "below"
                    lines.append([name, " ".join(pair), *shares, f"unit {best['unit']}, {side} inside"])
                    about = f"{' '.join(pair)} unit {best['unit']}: {shares[1]} right, majority {shares[2]}"
                    parts.append(folded(name, about, coloured(found["excerpt"], best["threshold"]), run["open"]))
        if not lines:
            return []
        return [
            Exhibit(
                "Inside brackets and quotes",
                "Places told right in text that was not fitted to: by logistic regression on all hidden units, by the "
                "best single unit and a threshold, and by always saying what is more frequent.",
                in_cells(["", "pair", "all units", "best unit", "majority", ""], lines),
            ),
            Exhibit(
                "The units that know",
                "Each symbol in the colour of the unit's activation after it was read: orange above the threshold, "
                "blue below, stronger further off. Underlined: truly inside.",
                "".join(parts),
                long=True,
            ),
        ]


def states(network, data, part: str, most: int) -> tuple:
    """Places of the first `most` elements of a part whose next symbol is asked [N], ascending, and the hidden units of
    all layers after each [N, L H]; arrays."""
    import numpy as np
    import torch

    from pipeline.probes.held_out import observations

    places, units = [], []
    for batch, h in observations(network, data, part, most):
        inside = data.answers.asked(batch.targets)
        places.append(batch.positions[inside])
        units.append(h[inside].float())
    at, h = torch.cat(places).cpu().numpy(), torch.cat(units).cpu().numpy()
    order = np.argsort(at)
    return at[order], h[order]


def linear_accuracy(h_fitted, y_fitted, h_judged, y_judged) -> float:
    """Share of `judged` that a logistic regression fitted to `fitted` tells right, on units scaled to variance 1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(h_fitted, y_fitted)
    return float(fitted.score(h_judged, y_judged))


def best_unit(h, y) -> tuple[int, float, bool]:
    """(unit, threshold, above): [h_unit > threshold] == (y == above) holds most often, of all units, thresholds between
    two values, and both signs."""
    import numpy as np

    order = np.argsort(h, axis=0)
    sorted_h, sorted_y = np.take_along_axis(h, order, 0), y[order]
    # With the threshold after the first k values: right are those outside below it and those inside above.
    right = np.cumsum(~sorted_y, axis=0) + sorted_y.sum(0) - np.cumsum(sorted_y, axis=0)
    right = np.maximum(right, len(y) - right)[:-1]
    right[sorted_h[1:] == sorted_h[:-1]] = -1  # no threshold parts what is the same
    k, unit = np.unravel_index(right.argmax(), right.shape)
    threshold = float((sorted_h[k, unit].astype(float) + sorted_h[k + 1, unit]) / 2)
    return int(unit), threshold, bool(((h[:, unit] > threshold) == y).mean() > 0.5)


def passage(data, symbols, inside, at, activation) -> list[list]:
    """[text, activation, whether it is inside] of consecutive symbols around the first that opens among the places
    `at`."""
    import numpy as np

    opening = np.flatnonzero(inside[at][1:] & ~inside[at][:-1])
    start = max(0, int(opening[0]) + 1 - BEFORE) if len(opening) else 0
    spell = data.vocabulary.speller()
    shown = []
    for place, value in zip(at[start : start + EXCERPT].tolist(), activation[start : start + EXCERPT].tolist()):
        known = symbols[place] < len(data.vocabulary)
        text = spell(int(symbols[place])) if known else "\N{REPLACEMENT CHARACTER}"
        shown.append([text, round(value, 3), bool(inside[place])])
    return shown


def coloured(excerpt: list[list], threshold: float):
    """HTML of the text of an excerpt in colours; neighbours that look alike are one element."""
    from itertools import groupby

    from markupsafe import Markup

    farthest = max((abs(value - threshold) for _, value, _ in excerpt), default=0) or 1

    def look(one: list) -> tuple[str, int, bool]:
        _, value, inside = one
        return ABOVE if value > threshold else BELOW, round(SHADES * abs(value - threshold) / farthest), inside

    parts = Markup("")
    for (colour, shade, inside), some in groupby(excerpt, look):
        style = f"background: rgba({colour}, {0.75 * shade / SHADES:.2f})" + "; text-decoration: underline" * inside
        parts += Markup('<span style="{}">{}</span>').format(style, visible("".join(text for text, *_ in some)))
    return Markup("<pre><samp>{}</samp></pre>").format(parts)
