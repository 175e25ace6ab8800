"""Figures, drawn without pyplot. The report, probes and the tracking of runs share them."""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pipeline.exhibits.numbers import several

INK = "#24292f"
GRID = "#d8dee4"
PAPER = "#ffffff"
# After Okabe & Ito (2008), without black and yellow: told apart by every common kind of colour vision. The lightest are
# darker than theirs, so that each has a contrast of 3 at least both on white and on the page's near black. Markers tell
# the same apart once more.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#c0699a", "#ad7800", "#3a97cc")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIGNS = dict(zip(MARKERS, "●■▲◆▼✚✖"))  # of markers, in a text
MOST_TOLD = 4  # numbers of a course
MOST_POINTS = 400
MOST_MARKERS = 50
STYLE = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "svg.fonttype": "none",
}


@contextmanager
def drawing(height: float, panels: int = 1) -> Iterator[tuple]:
    """(a matplotlib `Figure`, its panels side by side with one vertical axis) in the style of the page.

    height  inches; the width is 7.6
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, height), layout="constrained")
        row = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        yield figure, row
        for axes in row:
            axes.yaxis.grid(True, color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(length=0, which="both")


def look(index: int) -> dict[str, str]:
    """Colour and marker of the curve or point number `index` = 0, 1, ..."""
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def legend(figure, columns: int = 5) -> None:
    """Names of what is drawn, above it."""
    figure.legend(loc="outside upper left", ncols=columns, frameon=False)


def loss_curves(curves: Sequence[tuple[str, Sequence[dict]]], units: dict):
    """Loss against targets asked, as a matplotlib `Figure`: training thin (means over the steps since the record
    before), validation thick with markers.

    curves  pairs (label, records), a pair a run; runs with the same label (the seeds of one group) share colour and
            label. A record is a line of metrics.jsonl: "targets", "train" and, where measured, "validation"; None and
            values that are not finite are left out.
    units   of the losses, Units._asdict(): the left axis, the right one where there is another unit, and whether both
            are logarithmic
    The first twentieth of the longest run may leave the figure at the top, so that the end can be read.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    logarithmic = units["logarithmic"]
    labels = list(dict.fromkeys(label for label, _ in curves))
    lines = {
        label: [
            (_series(records, "train", logarithmic), _series(records, "validation", logarithmic))
            for name, records in curves
            if name == label
        ]
        for label in labels
    }
    points = [point for runs in lines.values() for run in runs for series in run for point in series]
    end = max((targets for targets, _ in points), default=1) or 1
    values = [loss for targets, loss in points if targets >= end / 20] or [loss for _, loss in points] or [0.0, 1.0]
    margin = 0.05 * (max(values) - min(values)) or 0.05
    low, high = min(values) - margin, max(values) + margin

    with drawing(max(4.0, 0.9 + 0.2 * len(labels))) as (figure, [axes]):
        ends = []
        for index, label in enumerate(labels):
            colour, marker = look(index).values()
            for train, validation in lines[label]:
                train = train[:: math.ceil(len(train) / MOST_POINTS) or 1]
                if train:
                    named = None if validation else label
                    axes.plot(*zip(*train), color=colour, linewidth=0.7, alpha=0.75, label=named)
                if validation:
                    axes.plot(
                        *zip(*validation),
                        label=label,
                        color=colour,
                        linewidth=1.9,
                        marker=marker,
                        markersize=4.5,
                        markevery=math.ceil(len(validation) / MOST_MARKERS),
                        markeredgecolor=PAPER,
                        markeredgewidth=0.5,
                    )
            last = [(validation or train)[-1] for train, validation in lines[label] if validation or train]
            if last:
                ends.append((sum(loss for _, loss in last) / len(last), max(x for x, _ in last), label, colour, marker))

        # Labels stand in a column at the right, inside the axes, each tied to the end of its curves; one alone is the
        # title.
        column = min(0.5, 0.06 + 0.0125 * max(map(len, labels))) if len(labels) > 1 else 0.02
        if len(labels) == 1:
            axes.set_title(*labels, loc="left", fontsize=9, parse_math=False)
            ends = []
        ends.sort()
        heights = _apart([loss for loss, *_ in ends], 0.2 / (figure.get_figheight() - 0.6) * (high - low), high)
        for height, (loss, targets, label, colour, marker) in zip(heights, ends):
            x = end * (1 + 0.25 * column)
            axes.plot([targets, x], [loss, height], color=colour, linewidth=0.7, linestyle=":")
            axes.plot([x], [height], color=colour, marker=marker, markersize=5, linestyle="none")
            axes.annotate(label, (x, height), xytext=(6, 0), textcoords="offset points", va="center", parse_math=False)

        axes.set(
            xlim=(0, end / (1 - column)),
            ylim=(low, high),
            xlabel=f"{several(units['element'])} asked",
            ylabel=units["loss"],
        )
        axes.set_xticks([x for x in MaxNLocator(6).tick_values(0, end) if 0 <= x <= end])
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        shown = [axes]
        for unit, factor in list(units["also"].items())[:1]:
            right = axes.secondary_yaxis("right", functions=_times(factor, logarithmic))
            right.set_ylabel(f"{unit}/{units['element']}")
            right.tick_params(length=0)
            shown.append(right)
        if logarithmic:
            axes.fmt_ydata = lambda exponent: f"{10**exponent:.3g}"
            for one in shown:
                one.yaxis.set_major_formatter(lambda exponent, _: f"{10**exponent:.2g}")
    return figure


def against_parameters(points: Sequence[tuple[str, int, float]], axis: str):
    """A measure against parameters on a logarithmic axis, a named point a model: triples (label, parameters, number).

    axis  what stands on the measure's axis
    """
    with drawing(4.0) as (figure, [axes]):
        for index, (label, parameters, number) in enumerate(points):
            axes.plot([parameters], [number], markersize=7, linestyle="none", label=label, **look(index))
        axes.set(xscale="log", xlabel="parameters", ylabel=axis)
        legend(figure)
    return figure


def against_units(lines: Mapping[str, Sequence[tuple[int, Sequence[float]]]], axis: str, logarithmic: bool):
    """A measure against units on a logarithmic axis, a line a model: label -> pairs (units, the number of each seed).

    axis  what stands on the measure's axis;  logarithmic  whether that is logarithmic too
    """
    with drawing(4.0) as (figure, [axes]):
        for index, (label, points) in enumerate(lines.items()):
            units, values = zip(*sorted(points))
            means = [sum(some) / len(some) for some in values]
            ranges = [[mean - min(some) for mean, some in zip(means, values)]]
            ranges += [[max(some) - mean for mean, some in zip(means, values)]]
            axes.errorbar(units, means, ranges, markersize=5, linewidth=1.2, label=label, **look(index))
        axes.set(xscale="log", xlabel="units", ylabel=axis, yscale="log" if logarithmic else "linear")
        ticks = sorted({units for points in lines.values() for units, _ in points})
        axes.set_xticks(ticks, [str(units) for units in ticks])
        axes.set_xticks([], minor=True)
        legend(figure)
    return figure


def against_settings(points: Sequence[tuple[str, dict[str, str], float]], axis: str, better: str = "low"):
    """A measure against each setting, a panel a setting: triples (label, setting -> value, number); a line joins the
    best of each value. Labels have colours of their own where there are several.

    axis    what stands on the measure's axis, logarithmic where low is better and no number is below 0 or 0
    better  "low" or "high"
    """
    names = list(dict.fromkeys(name for _, settings, _ in points for name in settings))
    labels = sorted({label for label, *_ in points}, key=numbers_in)
    with drawing(3.2 if len(labels) == 1 else 4.2, max(1, len(names))) as (figure, row):
        for index, (name, axes) in enumerate(zip(names, row)):
            having = [(label, settings[name], number) for label, settings, number in points if name in settings]
            values = sorted({value for _, value, _ in having}, key=numbers_in)
            for number_of, label in enumerate(labels):
                style = look(number_of) if len(labels) > 1 else {"color": look(index)["color"], "marker": "o"}
                ours = [(values.index(value), number) for one, value, number in having if one == label]
                axes.plot(*zip(*ours) if ours else ([], []), markersize=3.5, linestyle="none", alpha=0.5, **style)
                at = sorted({place for place, _ in ours})
                best = [(max if better == "high" else min)(n for place, n in ours if place == x) for x in at]
                axes.plot(at, best, color=style["color"], linewidth=1.4)
                if len(labels) > 1:
                    axes.plot([], [], label=None if index else label, **style)
            axes.set(xlabel=name, xlim=(-0.4, len(values) - 0.6), ylabel="" if index else axis)
            if better == "low" and min(number for *_, number in points) > 0:
                axes.set_yscale("log")
            axes.set_xticks(range(len(values)), values)
        if len(labels) > 1:
            legend(figure, 3)
    return figure


def against_values(
    panels: Sequence[tuple[str, Sequence[tuple[str, Sequence[tuple[float | str, float, bool]]]], bool]],
    axis: str,
    logarithmic: bool,
):
    """A measure against the values of settings, a panel a setting: triples (its name, [(label, [(value, number,
    whether it has a ring), ...]), ...], whether its axis is logarithmic). Values that are texts stand side by side.

    axis  what stands on the measure's axis;  logarithmic  whether that is logarithmic too
    """
    with drawing(3.6, len(panels)) as (figure, row):
        for place, ((name, lines, log), axes) in enumerate(zip(panels, row)):
            texts = sorted(
                {value for _, found in lines for value, *_ in found if isinstance(value, str)}, key=numbers_in
            )
            for index, (label, found) in enumerate(lines):
                style = look(index) if len(lines) > 1 else {"color": look(0)["color"], "marker": "o"}
                at = [(texts.index(x) if isinstance(x, str) else x, y, ring) for x, y, ring in found]
                axes.plot(
                    *([one[part] for one in sorted(at)] for part in (0, 1)),
                    markersize=4.5,
                    linestyle="none",
                    alpha=0.75,
                    label=label if len(lines) > 1 and not place else None,
                    **style,
                )
                ringed = [(x, y) for x, y, ring in at if ring]
                axes.plot(
                    *zip(*ringed) if ringed else ([], []), "o", markersize=10, fillstyle="none", color=style["color"]
                )
            axes.set(xlabel=name, ylabel="" if place else axis, xscale="log" if log else "linear")
            if texts:
                axes.set(xlim=(-0.4, len(texts) - 0.6))
                axes.set_xticks(range(len(texts)), texts)
            if logarithmic:
                axes.set_yscale("log")
        if len(panels[0][1]) > 1:
            legend(figure, 3)
    return figure


def svg(figure, title: str) -> str:
    """The SVG element of a figure, to stand inline in a page: text as text, no width or height of its own, transparent;
    and its key as a list, for screens on which a part of it is out of sight.

    Its description says what is drawn, for those who do not see it. Ink, grid and paper take the page's --ink, --grid
    and --paper where it sets them. The same figure and title give the same text.
    """
    import matplotlib
    from markupsafe import escape

    file = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):  # ids differ between the figures of one page
        figure.savefig(
            file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        lambda match: f'<svg {match[1]} role="img" aria-label="{escape(title)}"><desc>{escape(told(figure))}</desc>',
        text,
        count=1,
    )
    text = text.replace("xlink:href", "href")
    for name, colour in {"ink": INK, "grid": GRID, "paper": PAPER}.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return text + key(figure)


def told(figure) -> str:
    """What a figure shows, in words: of each panel its axes, and the course of each named line over it."""
    panels = []
    for axes in figure.axes:
        write = axes.fmt_ydata or "{:.4g}".format
        courses = {}
        for artist, label in zip(*axes.get_legend_handles_labels()):
            courses.setdefault(label, []).append(_heights(artist))
        said = []
        for label, found in courses.items():
            found = [heights for heights in found if heights]
            if len(found) == 1 and len(found[0]) <= MOST_TOLD:
                said.append(f"{label} {', '.join(map(write, found[0]))}")
            elif found:
                first, last = (sum(heights[place] for heights in found) / len(found) for place in (0, -1))
                said.append(f"{label} from {write(first)} to {write(last)}")
        name = next(filter(None, (axes.get_title(loc) for loc in ("center", "left"))), "")
        what = " against ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
        panels.append(": ".join(filter(None, (name if name not in courses else "", what, "; ".join(said)))))
    return ". ".join(filter(None, panels))


def key(figure) -> str:
    """HTML of the names of what is drawn, each with its colour and marker; nothing where there is one or none."""
    from markupsafe import escape
    from matplotlib.colors import to_hex

    found = {}
    for axes in figure.axes:
        for artist, label in zip(*axes.get_legend_handles_labels()):
            one = artist[0] if isinstance(artist, tuple) else artist  # a container of artists
            colour = one.get_color() if hasattr(one, "get_color") else one.get_facecolor()
            sign = SIGNS.get(getattr(one, "get_marker", str)(), "━" if hasattr(one, "get_color") else "■")
            found.setdefault(label, (to_hex(colour if isinstance(colour, str | tuple) else colour[0]), sign))
    items = (
        f'<li><i style="color: {colour}">{sign}</i> {escape(label)}</li>' for label, (colour, sign) in found.items()
    )
    return f'<ul class="key" aria-hidden="true">{"".join(items)}</ul>' if len(found) > 1 else ""


def _heights(artist) -> list[float]:
    """The finite heights of a line's points, of bars, or of points, from left to right."""
    if hasattr(artist, "get_ydata"):
        found = artist.get_ydata()
    elif hasattr(artist, "get_offsets"):
        found = [y for _, y in artist.get_offsets()]
    elif hasattr(artist, "patches"):
        found = [patch.get_y() + patch.get_height() for patch in artist.patches]
    else:  # a line with bars of error
        found = artist[0].get_ydata() if artist[0] is not None else []
    return [float(y) for y in found if y is not None and math.isfinite(float(y))]


def _series(records: Sequence[dict], name: str, logarithmic: bool) -> list[tuple[int, float]]:
    """Pairs (targets asked, loss) of the records that have a finite loss under `name`, or its decimal logarithm."""
    return [
        (record["targets"], math.log10(max(record[name], 1e-300)) if logarithmic else record[name])
        for record in records
        if record.get(name) is not None and math.isfinite(record[name])
    ]


def _times(factor: float, logarithmic: bool) -> tuple[Callable, Callable]:
    """From a place on one axis to that on the other, whose numbers are `factor` as large, and back."""
    if logarithmic:
        return lambda y: y + math.log10(factor), lambda y: y - math.log10(factor)
    return lambda y: y * factor, lambda y: y / factor


def _apart(heights: list[float], gap: float, top: float) -> list[float]:
    """Increasing `heights` moved as little as needed to be `gap` apart and below `top`."""
    moved = []
    for height in heights:
        moved.append(max(height, moved[-1] + gap) if moved else height)
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], (moved[index + 1] if index + 1 < len(moved) else top + gap / 2) - gap)
    return moved


def numbers_in(text: str) -> list:
    """A key that sorts texts by their parts, numbers by size and before words."""
    return [
        (0, float(part), "") if index % 2 else (1, 0.0, part)
        for index, part in enumerate(re.split(r"((?:^-)?\d+(?:\.\d+)?(?:e-?\d+)?)", text))
    ]
