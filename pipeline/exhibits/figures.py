"""Figures of training, drawn without pyplot. The report and the tracking of runs share them."""

import io
import logging
import math
import re
from collections.abc import Sequence

# Building the font cache is announced as a warning; it is not one.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

INK = "#24292f"
GRID = "#d8dee4"
PAPER = "#ffffff"
# Okabe & Ito (2008) without black and yellow: told apart by every common kind of colour vision, visible on white and on
# near black. Markers tell the same apart once more.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
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


def loss_curves(curves: Sequence[tuple[str, Sequence[dict]]], text: bool = True):
    """Loss against symbols read, as a matplotlib `Figure`: training thin (means over the steps since the record
    before), validation thick with markers.

    curves: pairs (label, records), a pair a run; runs with the same label (the seeds of one group) share colour and
    label. A record is a line of metrics.jsonl: "symbols", "train" and, where measured, "validation", in nats per
    symbol; None and values that are not finite are left out. Left axis nats, right axis bits (nats / ln 2); where the
    data are no text, squared errors on a logarithmic axis. The first twentieth of the longest run may leave the
    figure at the top, so that the end can be read.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    labels = list(dict.fromkeys(label for label, _ in curves))
    lines = {
        label: [
            (_series(records, "train", text), _series(records, "validation", text))
            for name, records in curves
            if name == label
        ]
        for label in labels
    }
    points = [point for runs in lines.values() for run in runs for series in run for point in series]
    end = max((symbols for symbols, _ in points), default=1) or 1
    values = [loss for symbols, loss in points if symbols >= end / 20] or [loss for _, loss in points] or [0.0, 1.0]
    margin = 0.05 * (max(values) - min(values)) or 0.05
    low, high = min(values) - margin, max(values) + margin

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, max(4.0, 0.9 + 0.2 * len(labels))), layout="constrained")
        axes = figure.add_subplot()
        ends = []
        for index, label in enumerate(labels):
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            for train, validation in lines[label]:
                train = train[:: math.ceil(len(train) / MOST_POINTS) or 1]
                if train:
                    axes.plot(*zip(*train), color=colour, linewidth=0.7, alpha=0.75)
                if validation:
                    axes.plot(
                        *zip(*validation),
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
        for height, (loss, symbols, label, colour, marker) in zip(heights, ends):
            x = end * (1 + 0.25 * column)
            axes.plot([symbols, x], [loss, height], color=colour, linewidth=0.7, linestyle=":")
            axes.plot([x], [height], color=colour, marker=marker, markersize=5, linestyle="none")
            axes.annotate(label, (x, height), xytext=(6, 0), textcoords="offset points", va="center", parse_math=False)

        axes.set(
            xlim=(0, end / (1 - column)),
            ylim=(low, high),
            xlabel="symbols read" if text else "steps read",
            ylabel="nats per symbol" if text else "squared error",
        )
        axes.set_xticks([x for x in MaxNLocator(6).tick_values(0, end) if 0 <= x <= end])
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.yaxis.grid(True, color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        if text:
            bits = axes.secondary_yaxis("right", functions=(lambda nats: nats / math.log(2), lambda b: b * math.log(2)))
            bits.set_ylabel("bits per symbol")
            bits.tick_params(length=0)
        else:
            axes.yaxis.set_major_formatter(lambda exponent, _: f"{10**exponent:.2g}")
    return figure


def against_parameters(points: Sequence[tuple[str, int, float]]):
    """Loss against parameters on a logarithmic axis, a named point a model: triples (label, parameters, loss)."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for index, (label, parameters, loss) in enumerate(points):
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(
                [parameters],
                [loss],
                color=colour,
                marker=MARKERS[index % len(MARKERS)],
                markersize=7,
                linestyle="none",
                label=label,
            )
        axes.set(xscale="log", xlabel="parameters", ylabel="nats per symbol")
        figure.legend(loc="outside upper left", ncols=5, frameon=False)
        axes.yaxis.grid(True, color=GRID, linewidth=0.6)
        axes.tick_params(length=0)
    return figure


def forecasts(shown: Sequence[tuple[str, dict]]):
    """What was observed and what each model forecast, first channel against steps ahead: pairs (label,
    probes.forecast's arrays)."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        axes = figure.add_subplot()
        columns = max(1, 100 // (6 + max(len(label) for label, _ in shown)))
        observed = [step[0] for step in shown[0][1]["observed"]]
        axes.plot(range(1, len(observed) + 1), observed, color=INK, linewidth=1.2, label="observed")
        for index, (label, arrays) in enumerate(shown):
            values = [step[0] for step in arrays["forecast"]]
            axes.plot(
                range(1, len(values) + 1),
                values,
                color=COLOURS[index],
                marker=MARKERS[index],
                markevery=max(1, len(values) // 12),
                markersize=3.5,
                linewidth=0.9,
                label=label,
            )
        spread = max(observed) - min(observed) or 1.0
        axes.set(
            xlabel="steps ahead",
            ylabel="value",
            xlim=(1, len(observed)),
            ylim=(min(observed) - 0.5 * spread, max(observed) + 0.5 * spread),
        )
        axes.yaxis.grid(True, color=GRID, linewidth=0.6)
        axes.tick_params(length=0)
        figure.legend(loc="outside upper left", ncols=min(3, columns), frameon=False)
    return figure


def against_settings(points: Sequence[tuple[dict[str, str], float]]):
    """Loss on a logarithmic axis against each setting, a panel a setting: pairs (setting -> value, loss)."""
    import matplotlib
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for settings, _ in points for name in settings))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.2), layout="constrained")
        for index, (name, axes) in enumerate(
            zip(names, figure.subplots(1, max(1, len(names)), sharey=True, squeeze=False)[0])
        ):
            values = sorted({settings[name] for settings, _ in points}, key=_numbers_in)
            places = [values.index(settings[name]) for settings, _ in points]
            axes.plot(
                places,
                [loss for _, loss in points],
                color=COLOURS[index % len(COLOURS)],
                marker="o",
                markersize=3.5,
                linestyle="none",
                alpha=0.5,
            )
            best = [min(loss for settings, loss in points if settings[name] == value) for value in values]
            axes.plot(range(len(values)), best, color=COLOURS[index % len(COLOURS)], linewidth=1.4)
            axes.set(xlabel=name, yscale="log", xlim=(-0.4, len(values) - 0.6), ylabel="" if index else "test loss")
            axes.set_xticks(range(len(values)), values)
            axes.yaxis.grid(True, color=GRID, linewidth=0.6)
            axes.tick_params(length=0, which="both")
    return figure


def carried(points: Sequence[tuple[str, float, float]], bounds: dict[str, float]):
    """Bits carried against bits of the message: triples (label, message, carried), a colour a label, its line through
    the best of each message; label -> the most that it can carry, dashed; dotted: all of the message."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        longest = max(message for _, message, _ in points)
        axes.plot([0, longest], [0, longest], color=INK, linewidth=0.9, linestyle=":", label="all")
        for index, label in enumerate(sorted({label for label, *_ in points}, key=_numbers_in)):
            style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
            of = {
                message: [bits for name, at, bits in points if (name, at) == (label, message)]
                for name, message, _ in sorted(points)
                if name == label
            }
            axes.plot(
                of.keys(), [max(bits) for bits in of.values()], markersize=4.5, linewidth=1.4, label=label, **style
            )
            axes.plot(
                *zip(*((message, bits) for message, some in of.items() for bits in some)),
                markersize=3,
                linestyle="none",
                alpha=0.5,
                **style,
            )
            if label in bounds:
                axes.axhline(bounds[label], color=style["color"], linewidth=0.8, linestyle="--")
        axes.set(
            xlabel="bits of the message",
            ylabel="bits carried",
            xlim=(0, None),
            ylim=(min(0, *(bits for *_, bits in points)) - 0.1, longest + 0.3),
        )
        axes.yaxis.grid(True, color=GRID, linewidth=0.6)
        axes.tick_params(length=0)
        figure.legend(loc="outside upper left", ncols=5, frameon=False)
    return figure


def svg(figure, title: str) -> str:
    """The SVG element of a figure, to stand inline in a page: text as text, no width or height of its own, transparent.

    Ink, grid and paper take the page's --ink, --grid and --paper where it sets them. The same figure and title give
    the same text.
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
        lambda match: f'<svg {match[1]} role="img" aria-label="{escape(title)}">',
        text,
        count=1,
    )
    text = text.replace("xlink:href", "href")
    for name, colour in {"ink": INK, "grid": GRID, "paper": PAPER}.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return text


def _series(records: Sequence[dict], name: str, text: bool) -> list[tuple[int, float]]:
    """Pairs (symbols read, loss) of the records that have a finite loss under `name`;
    its decimal logarithm where the data are no text."""
    return [
        (record["symbols"], record[name] if text else math.log10(max(record[name], 1e-300)))
        for record in records
        if record.get(name) is not None and math.isfinite(record[name])
    ]


def _apart(heights: list[float], gap: float, top: float) -> list[float]:
    """Increasing `heights` moved as little as needed to be `gap` apart and below `top`."""
    moved = []
    for height in heights:
        moved.append(max(height, moved[-1] + gap) if moved else height)
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], (moved[index + 1] if index + 1 < len(moved) else top + gap / 2) - gap)
    return moved


def _numbers_in(text: str) -> list:
    """A key that sorts texts by their parts, numbers by size and before words."""
    return [
        (0, float(part), "") if index % 2 else (1, 0.0, part)
        for index, part in enumerate(re.split(r"((?:^-)?\d+(?:\.\d+)?(?:e-?\d+)?)", text))
    ]
