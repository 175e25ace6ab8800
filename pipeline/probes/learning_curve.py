"""How the loss falls as a model learns from more."""

from collections.abc import Mapping
from itertools import combinations
from math import isfinite

from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import drawing, legend, look, svg
from pipeline.exhibits.numbers import NOTHING, count, known, several, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.power_law import PowerLaw, crossings, fit
from pipeline.probes.probe import Probe

BEYOND = 100.0  # times the largest size, where curves are followed to see whether they cross


class LearningCurve(Probe):
    """The loss on a held-out part against the elements that were learned from, of the runs of a study whose training
    parts are of several sizes (data.train_size), with L(N) = L_oo + a N^-b fitted to each model of four sizes or more,
    and where the curves of two models cross."""

    measures = {"learned_from": Measure(digits=",.0f", better="high", title="learned from")}

    def measure(self, network, data, seed: int) -> dict:
        """{"learned_from": N}."""
        return {"learned_from": data.card["counts"]["train"]}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        element = several(rows[0]["units"]["element"])
        points: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            name = loss_of(row)
            for run in row["runs"]:
                if known(run["measured"].get(name)) and name not in run["doubts"]:
                    label = f"{row['model']} {row['size']}".strip()
                    points.setdefault(label, []).append((run["found"]["learned_from"], run["measured"][name]))
        points = {label: sorted(some) for label, some in sorted(points.items())}
        if not points:
            return []
        laws = {label: fit(*zip(*some)) for label, some in points.items()}
        laws = {label: law for label, law in laws.items() if law is not None}
        title = "Loss by training data"
        about = (
            f"A point a run: its loss on the same held-out {element} against the {element} that it learned from. "
            "Lines: L = limit + a N^-b, fitted; both axes are logarithmic. Where a line goes beyond the points it is "
            "dashed, and no more than a guess. Diamonds: where two lines cross."
        )
        drawn = figure(points, laws, f"{element} learned from", rows[0]["units"]["loss"])
        shown = [Exhibit(title, about, svg(drawn, f"{title}: {rows[0]['study']}"))]
        if laws:
            about = (
                "The fitted curves, in the loss's units: the limit that no amount of data betters, the exponent, and "
                "what ten times the most data would bring. Three numbers fitted to few sizes: read them as a summary "
                "of the points."
            )
            shown.append(Exhibit("Fitted curves", about, curves(points, laws)))
        if len(laws) > 1:
            about = (
                "Of two models: where their curves cross, as far as a hundred times the most data, and of the data "
                "that the second had at most, how much the first needs by its curve for the same loss."
            )
            shown.append(Exhibit("Same quality", about, beside(points, laws)))
        return shown


def loss_of(row: dict) -> str | None:
    """The measure that is the mean loss itself, or a unit of it, rather than a function of it such as perplexity."""
    return "nats" if "nats" in row["measured"] else row["ranked_by"]


def curves(points: Mapping[str, list[tuple[int, float]]], laws: Mapping[str, PowerLaw]):
    """HTML: a line a curve."""
    lines = [
        [
            label,
            written(law.limit),
            written(law.exponent),
            f"{written(law.at(points[label][-1][0]))} at {count(points[label][-1][0])}",
            written(law.fall(points[label][-1][0])),
        ]
        for label, law in laws.items()
    ]
    return in_cells(["", "limit", "exponent b", "loss with the most data", "tenfold brings"], lines)


def beside(points: Mapping[str, list[tuple[int, float]]], laws: Mapping[str, PowerLaw]):
    """HTML: a line a pair of curves."""
    lines = []
    for one, other in combinations(laws, 2):
        least, most = ends(points[one] + points[other])
        met = crossings(laws[one], laws[other], least, BEYOND * most)
        said = [f"{count(float(f'{size:.2g}'))}{'' if size <= most else ' (beyond the data)'}" for size in met]
        for first, second in ((one, other), (other, one)):
            had = points[second][-1][0]
            needed = laws[first].size_for(laws[second].at(had))
            lines.append([first, second, ", ".join(said) or "nowhere", times(needed / had)])
    return in_cells(["", "beside", "curves cross at", "data needed for its loss"], lines)


def times(ratio: float) -> str:
    """Of how much data another needs, as people read it."""
    if not isfinite(ratio):
        return f"{NOTHING} (not by any amount)"
    return f"{ratio:.2g} times" if 1e-3 <= ratio <= 1e3 else ("over 1,000 times" if ratio > 1 else "below 0.001 times")


def ends(points: list[tuple[int, float]]) -> tuple[int, int]:
    sizes = [size for size, _ in points]
    return min(sizes), max(sizes)


def figure(
    points: Mapping[str, list[tuple[int, float]]], laws: Mapping[str, PowerLaw], sizes_axis: str, losses_axis: str
):
    """Points and curves by label, as a matplotlib `Figure`."""
    import numpy as np
    from matplotlib.ticker import EngFormatter, NullFormatter

    least, most = ends([point for some in points.values() for point in some])
    with drawing(4.4) as (whole, [axes]):
        for index, (label, some) in enumerate(points.items()):
            axes.plot(*zip(*some), markersize=5, linestyle="none", label=label, **look(index))
            if label in laws:
                for start, end, style in ((least, most, "-"), (most, 10 * most, "--")):
                    sizes = np.geomspace(start, end, 60)
                    axes.plot(
                        sizes,
                        list(map(laws[label].at, sizes)),
                        color=look(index)["color"],
                        linewidth=1.2,
                        linestyle=style,
                    )
        for one, other in combinations(laws, 2):
            for size in crossings(laws[one], laws[other], least, 10 * most):
                axes.plot(
                    [size], [laws[one].at(size)], marker="D", markersize=8, color="none", markeredgecolor="#57606a"
                )
        axes.set(xscale="log", yscale="log", xlabel=sizes_axis, ylabel=losses_axis)
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        low, high = axes.get_ylim()
        ticks = [tick for tick in np.round(np.geomspace(low, high, 7), 1 if high > 1 else 3) if low <= tick <= high]
        axes.set_yticks(sorted(set(ticks)), [f"{tick:g}" for tick in sorted(set(ticks))])
        axes.yaxis.set_minor_formatter(NullFormatter())
        legend(whole)
    return whole
