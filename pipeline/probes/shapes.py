"""The five shapes of sequence problems, drawn as the lecture draws them, with what came out in each."""

import re
from collections.abc import Mapping
from textwrap import wrap
from typing import NamedTuple

from pipeline.exhibits.exhibit import Exhibit
from pipeline.exhibits.figures import INK, drawing, svg
from pipeline.exhibits.groups import over_seeds
from pipeline.exhibits.numbers import DOUBT, known, spread, written
from pipeline.exhibits.tables import in_cells
from pipeline.probes.probe import Probe


class Boxes(NamedTuple):
    """Steps, from 0, that have an input, a hidden and an output box."""

    inputs: range
    hidden: range
    outputs: range


SHAPES = {
    "one to one": Boxes(range(1), range(1), range(1)),
    "one to many": Boxes(range(1), range(3), range(3)),
    "many to one": Boxes(range(3), range(3), range(2, 3)),
    "many to many": Boxes(range(3), range(5), range(2, 5)),
    "many to many, in step": Boxes(range(3), range(3), range(3)),
}
COLOURS = ("#f2b5ad", "#b7dfae", "#aebff0")  # the lecture's red inputs, green hidden, blue outputs
SLOT, BOX, TALL = 0.27, 0.18, 0.3  # inches: from step to step, a box, its height
LEVELS = (0.1, 0.6, 1.1)  # of the boxes' lower edges
TOP = 1.75  # inches of the drawing above the words
WIDTH = 7.6 / len(SHAPES)
LINE, COLUMNS = 0.125, 27  # inches, letters of a line of words


class Shapes(Probe):
    """What each of a study's tasks came to, under the shape that it has.

    tasks  mappings of texts: "shape", one of SHAPES; "data", the name of the task's data; "task", what it is; "measure"
           and its "digits"; "baseline", what it is held against: a model of the study, or a number that is found where
           ours is, a measure or, as "probe.place.place", of what a probe found; and what that is "called"; "command",
           what runs it, this study or another. "unit" stands before ours. "reference", where there is one, says what
           others found.
    """

    def __init__(self, tasks: list[dict]):
        self.tasks = tasks
        self.beside = {name for task in tasks for name in re.findall(r"study=(\w+)", task["command"])}

    def measure(self, network, data, seed: int) -> dict:
        """Nothing beside what the other probes measure."""
        return {}

    def show(self, rows: list[dict]) -> list[Exhibit]:
        found = [(task, result(task, rows)) for task in self.tasks]
        title = "Five shapes of sequence problems"
        about = (
            "As the lecture draws them: inputs red, hidden states green, outputs blue; below each what we ran of it, "
            "the mean over seeds and its standard deviation, and what it is held against."
        )
        lines = [
            [task["task"], task["shape"], task["data"], *words(task, one), task.get("reference", ""), command(task)]
            for task, one in found
        ]
        heads = ["task", "shape", "data", "ours", "held against", "published", "made by"]
        return [
            Exhibit(title, about, svg(figure(found), f"{title}: {rows[0]['study']}")),
            Exhibit("The five shapes in numbers", "The same as a table.", in_cells(heads, lines)),
        ]


class Result(NamedTuple):
    """Of a task: the row of our best model, None where it was not run, and what it came to, and so the baseline: a mean
    with its spread over seeds, None where there is none."""

    row: dict | None
    ours: str | None
    baseline: str | None


def result(task: Mapping, rows: list[dict]) -> Result:
    """rows  as Probe.show gets them, best first"""
    of = [row for row in rows if row["data"].split()[0] == task["data"]]
    by_model = [row for row in of if row["model"] == task["baseline"]]
    ours = [row for row in of if row not in by_model and task["measure"] in row["measured"]]
    if not ours:
        return Result(None, None, None)
    if by_model:
        baseline = number(by_model[0], task["measure"], task["digits"])
    elif "." in task["baseline"]:
        baseline = with_spread(over_seeds(in_probes(run, task["baseline"]) for run in ours[0]["runs"]), task["digits"])
    else:
        baseline = number(ours[0], task["baseline"], task["digits"])
    return Result(ours[0], number(ours[0], task["measure"], task["digits"]), baseline)


def number(row: dict, measure: str, digits: str) -> str | None:
    """What a row has of a measure, marked where it is in doubt."""
    if measure not in row["measured"]:
        return None
    return with_spread(row["measured"][measure], digits, DOUBT if measure in row["doubts"] else "")


def in_probes(run: dict, place: str) -> float | None:
    """A number that a probe found beside its measures, by "probe.place.place"."""
    found = run["probes"]
    for key in place.split("."):
        found = (found or {}).get(key)
    return found


def with_spread(one: dict, digits: str, doubt: str = "") -> str | None:
    """A mean and its standard deviation, in one piece."""
    if not known(one["mean"]):
        return None
    parts = filter(None, (written(one["mean"], digits) + doubt, spread(one["std"] or None, digits)))
    return " ".join(parts).replace(" ", "\N{NO-BREAK SPACE}")


def words(task: Mapping, found: Result) -> tuple[str, str]:
    """What the task came to with us, and with what it is held against."""
    if found.ours is None:
        return "not run", ""
    unit = task.get("unit", "") and f"{task['unit']} "
    against = f"{task['called']} {found.baseline or 'not run'}" if task["called"] else ""
    return f"{found.row['model']} {unit}{found.ours}", against


def command(task: Mapping):
    from markupsafe import Markup

    return Markup("<code>{}</code>").format(task["command"])


def figure(found: list[tuple[Mapping, Result]]):
    """Boxes and words of each shape, in the order of SHAPES."""
    columns = {name: [] for name in SHAPES}
    for task, one in found:
        ours, baseline = words(task, one)
        columns[task["shape"]] += [(line, "bold", "sans-serif") for line in wrap(task["task"], COLUMNS)]
        for text in (ours, baseline, task.get("reference", "")):
            columns[task["shape"]] += [(line, "normal", "sans-serif") for line in wrap(text, COLUMNS)]
        if ours == "not run":
            columns[task["shape"]] += [(line, "normal", "monospace") for line in wrap(task["command"], COLUMNS)]
        columns[task["shape"]].append(("", "normal", "sans-serif"))
    lines = max(map(len, columns.values()))
    with drawing(TOP + LINE * lines) as (whole, [axes]):
        for place, (name, words_of) in enumerate(columns.items()):
            left = place * WIDTH
            axes.text(left + WIDTH / 2, TOP - 0.1, name, ha="center", va="center", fontsize=8, weight="bold")
            boxes(axes, SHAPES[name], left + (WIDTH - SLOT * len(SHAPES[name].hidden)) / 2)
            for line, (text, weight, family) in enumerate(words_of):
                size = 5.4 if family == "monospace" else 6.6
                axes.text(left + 0.04, -LINE * (line + 0.7), text, fontsize=size, weight=weight, family=family)
        axes.set(xlim=(0, 7.6), ylim=(-LINE * lines, TOP))
        axes.set_axis_off()
    return whole


def boxes(axes, shape: Boxes, left: float) -> None:
    """The boxes of a shape and the arrows between them, the first step at `left`."""
    from matplotlib.patches import Rectangle

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        style = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end, start, arrowprops=style)

    low, middle, high = LEVELS
    for steps, level, colour in zip(shape, LEVELS, COLOURS):
        for step in steps:
            at = left + SLOT * step + (SLOT - BOX) / 2
            axes.add_patch(Rectangle((at, level), BOX, TALL, facecolor=colour, edgecolor=INK, linewidth=0.6))
    for steps, start, end in ((shape.inputs, low + TALL, middle), (shape.outputs, middle + TALL, high)):
        for step in steps:
            arrow((left + SLOT * (step + 0.5), start), (left + SLOT * (step + 0.5), end))
    for step in shape.hidden[1:]:
        at = left + SLOT * step
        arrow((at - (SLOT - BOX) / 2, middle + TALL / 2), (at + (SLOT - BOX) / 2, middle + TALL / 2))
