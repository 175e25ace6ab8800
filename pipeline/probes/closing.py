"""Whether a model knows what is to be closed: brackets and quotes, none, one or many of them open."""

from collections.abc import Mapping, Sequence

from pipeline.command.setting import Count, Pairs
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import drawing, legend, look, svg
from pipeline.exhibits.gallery import folded
from pipeline.exhibits.numbers import count, several, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe

DEPTHS = ("none", "one", "many")
FEW = 20  # closing symbols at a distance, for a point of a figure


class Closing(Probe):
    """p(closing symbol follows | text so far), in the mean over the places of a held-out text, by how many pairs are
    open there and how far back the innermost was opened; beside it how often the closing symbol does follow. Distances
    are by powers of two, as in Karpathy, Johnson & Fei-Fei 2015, section 4.3.

    Measured is the probability that p is higher at a place at which a pair is open, for more than `far` elements,
    than at a place at which none is: 1/2 for who does not know (the area under the ROC curve), in the mean over pairs.

    pairs     the opening and the closing symbol of each, as "()"
    elements  of the held-out part that are read, >= 1
    far       elements
    """

    measures = {"open": Measure(digits=".3f", better="high", title="open or not, far (AUC)")}

    def __init__(self, pairs: Pairs, elements: Count, far: Count):
        self.pairs, self.elements, self.far = list(pairs), elements, far

    def fits(self, network, data) -> bool:
        from pipeline.probes.enclosed import known_pairs

        return data.foretells and data.contiguous and bool(known_pairs(data, self.pairs))

    def measure(self, network, data, seed: int) -> dict:
        """{"open": None where no pair is open far enough; "pairs": {pair: {"auc": or None, "depths": by none, one and
        many {"places", "p", "follows"}, "distances": [{"from", "to", "places", "p", "follows", "closings", "p_closing":
        None without any}]}}}; p and follows are means over places."""
        import numpy as np

        from pipeline.probes.enclosed import enclosed, known_pairs, symbol_of

        known = known_pairs(data, self.pairs)
        part = data.judged_on
        symbols = np.asarray(data.parts[part][: self.elements]).astype(np.int64)
        asked, p = probabilities(network, data, part, self.elements, [closing for _, closing in known.values()])
        follows = symbols[1:]
        pairs = {}
        for column, (pair, (opening, closing)) in enumerate(known.items()):
            depth, distance = enclosed(symbols, opening, closing, symbol_of(data, "\n"))
            one = tally(depth[:-1][asked], distance[:-1][asked], p[asked, column], follows[asked] == closing, self.far)
            if one["depths"]["one"]["places"]:
                pairs[pair] = one
        aucs = [one["auc"] for one in pairs.values() if one["auc"] is not None]
        return {"open": sum(aucs) / len(aucs) if aucs else None, "pairs": pairs}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        pairs = list(dict.fromkeys(pair for row in rows for run in row["runs"] for pair in run["found"]["pairs"]))
        if not pairs:
            return []
        shown = []
        for element in dict.fromkeys(row["units"]["element"] for row in rows):
            alike = [row for row in rows if row["units"]["element"] == element]
            lines = {
                row["name"] if len(alike) == len(rows) else row["label"]: row["runs"][0]["found"]["pairs"]
                for row in alike
            }
            title = "Closing symbols by distance" + f", by {several(element)}" * (len(alike) < len(rows))
            about = (
                "The mean probability of the closing symbol where it does follow, against the distance to the symbol "
                f"that it closes; first seed, distances with at least {FEW} of them. Who only sees what is near "
                "forgets what is open."
            )
            drawn = figure(lines, pairs, several(element))
            if drawn is not None:
                shown.append(Exhibit(title, about, svg(drawn, f"{title}: {rows[0]['study']}")))
        about = (
            "The mean probability of the closing symbol (p) and how often it follows, by the pairs that are open and "
            "by how far back the innermost was opened."
        )
        parts = [
            folded(
                f"{row['label']}, seed {run['seed']}",
                " ".join(run["found"]["pairs"]),
                tables(run["found"]["pairs"]),
            )
            for row in rows
            for run in row["runs"]
        ]
        return [*shown, Exhibit("None, one, many open", about, "".join(parts), long=True)]


def probabilities(network, data, part: str, most: int, closing: Sequence[int]) -> tuple:
    """Of the first `most` elements of a part: whether the symbol after each is asked [n - 1], and p(each of `closing`
    follows) [n - 1, len(closing)], 0 where it is not asked; arrays."""
    import numpy as np
    import torch

    from pipeline.probes.held_out import predictions

    n = min(most, len(data.parts[part]))
    asked, p = np.zeros(n - 1, bool), np.zeros((n - 1, len(closing)))
    for batch, z in predictions(network, data, part, most):
        inside = data.answers.asked(batch.targets)
        at = batch.positions[inside].cpu().numpy()
        asked[at] = True
        p[at] = torch.softmax(z[inside].double(), -1)[:, list(closing)].cpu().numpy()
    return asked, p


def tally(depth, distance, p, follows, far: int) -> dict:
    """What is found of one pair, from arrays over places: pairs open, distance to the innermost's opening, p(closing),
    and whether it follows."""

    def mean(values) -> float | None:
        return float(values.mean()) if len(values) else None

    classes = {"none": depth == 0, "one": depth == 1, "many": depth > 1}
    depths = {
        name: {"places": int(of.sum()), "p": mean(p[of]), "follows": mean(follows[of])} for name, of in classes.items()
    }
    distances = []
    for power in range(int(distance.max(initial=0)).bit_length()):
        first, last = 2**power, 2 ** (power + 1) - 1
        of = (distance >= first) & (distance <= last)
        one = {"from": first, "to": last, "closings": int(follows[of].sum()), "p_closing": mean(p[of & follows])}
        distances.append(one | {"places": int(of.sum()), "p": mean(p[of]), "follows": mean(follows[of])})
    return {"auc": area(p[distance > far], p[depth == 0]), "depths": depths, "distances": distances}


def area(inside, outside) -> float | None:
    """p(x > y) + p(x = y) / 2 for x of `inside` and y of `outside`: the area under the ROC curve; None where either is
    empty."""
    import numpy as np
    from scipy.stats import rankdata

    if not len(inside) or not len(outside):
        return None
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)].sum()
    return float((ranks - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))


def figure(lines: Mapping[str, Mapping[str, dict]], pairs: Sequence[str], element: str):
    """A panel a pair, a line a model, {label: {pair: what is found of it}}, as a matplotlib `Figure`; None where
    nothing is closed often enough."""
    points = {
        pair: {
            label: [(one["from"], one["p_closing"]) for one in of[pair]["distances"] if one["closings"] >= FEW]
            for label, of in lines.items()
            if pair in of
        }
        for pair in pairs
    }
    points = {pair: of for pair, of in points.items() if any(of.values())}
    if not points:
        return None
    highest = max(p for of in points.values() for some in of.values() for _, p in some)
    with drawing(3.4, len(points)) as (whole, panels):
        for (pair, of), axes in zip(points.items(), panels):
            for index, label in enumerate(lines):
                some = of.get(label) or []
                axes.plot(
                    *(zip(*some) if some else ([], [])),
                    markersize=4.5,
                    linewidth=1.4,
                    label=label if axes is panels[0] else None,
                    **look(index),
                )
            axes.set_title(" ".join(pair), parse_math=False)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda distance, _: f"{distance:g}")
            axes.set(xlabel=f"distance, {element}", ylabel="p(closing)" if axes is panels[0] else "")
        panels[0].set_ylim(0, 1.05 * highest)  # of all panels
        legend(whole, 3)
    return whole


def tables(pairs: Mapping[str, dict]):
    """HTML: a line a pair, by depth and by distance side by side."""
    from markupsafe import Markup

    parts = Markup("")
    for pair, one in pairs.items():
        of_depth = [[name, *numbers(one["depths"][name])] for name in DEPTHS]
        of_distance = [
            [f"{some['from']:,} to {some['to']:,}" if some["to"] > 1 else "1", *numbers(some)]
            for some in one["distances"]
            if some["places"]
        ]
        parts += Markup('<div class="tables">{}{}</div>').format(
            in_cells([f"{' '.join(pair)} open", "places", "p", "follows"], of_depth),
            in_cells(["distance", "places", "p", "follows"], of_distance),
        )
    return parts


def numbers(one: dict) -> list[str]:
    return [count(one["places"]), written(one["p"], ".4f"), written(one["follows"], ".4f")]
