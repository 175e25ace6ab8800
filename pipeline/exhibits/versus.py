"""What ranks a section's models, drawn against what a study varies."""

from collections.abc import Mapping

from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.figures import against_parameters, against_settings, against_units, svg
from pipeline.exhibits.numbers import known, share


def by_parameters(section: dict, measures: Mapping[str, Measure], study: str) -> Exhibit | None:
    """A point a group, its mean over seeds; None where there are none."""
    name = section["ranked_by"]
    rows = relied_on(section)
    found = [(row["name"], row["parameters"], row["measured"][name]["mean"]) for row in rows]
    points = [point for point in found if known(point[-1])]
    if not points:
        return None
    axis = measures[name].axis(name, section["units"])
    title = f"{axis} by parameters, {section['data']}"
    fewer = [f"{row['name']} {share(row['by_seed'][name])}" for row in rows if share(row["by_seed"][name])]
    about = "Mean over seeds." + f" Over those that did not diverge: {', '.join(fewer)}." * bool(fewer)
    about += left_out(section)
    return Exhibit(title, about, svg(against_parameters(points, axis), full(title, section, study)))


def by_settings(section: dict, measures: Mapping[str, Measure], study: str) -> Exhibit | None:
    """A point a run, a panel a setting; None where there are none, or nothing that they differ in."""
    name = section["ranked_by"]
    found = [
        (words(row["name"]), settings(row["name"]), run["measured"].get(name))
        for row in relied_on(section)
        for run in row["runs"]
    ]
    points = [point for point in found if known(point[-1])]
    if not any(names for _, names, _ in points):
        return None
    measure = measures[name]
    axis = measure.axis(name, section["units"])
    title = f"{axis} by settings, {section['data']}"
    about = "A point a run; the line joins the best of each value, whatever the other settings." + left_out(section)
    figure = against_settings(points, axis, measure.better)
    return Exhibit(title, about, svg(figure, full(title, section, study)))


def relied_on(section: dict) -> list[dict]:
    """The groups whose number that ranks them is there and not in doubt."""
    name = section["ranked_by"]
    return [row for row in section["rows"] if name in row["measured"] and name not in row["doubts"]]


def left_out(section: dict) -> str:
    """Words on the groups whose number is in doubt."""
    doubted = [row["name"] for row in section["rows"] if section["ranked_by"] in row["doubts"]]
    return f" Left out, for their numbers are in doubt: {', '.join(doubted)}." if doubted else ""


def by_units(section: dict, measures: Mapping[str, Measure], study: str) -> Exhibit | None:
    """A line a model, a point a size, its mean over seeds and their range; None where no size is a number of units."""
    name, lines = section["ranked_by"], {}
    for row in relied_on(section):
        units, found = row["size"].rpartition("x")[2], [run["measured"].get(name) for run in row["runs"]]
        values = [value for value in found if known(value)]
        if units.isdecimal() and values:
            lines.setdefault(row["model"], []).append((int(units), values))
    if not lines:
        return None
    axis = measures[name].axis(name, section["units"])
    title = f"{axis} by units, {section['data']}"
    about = "Units of a layer, or of a reservoir; means over seeds, and bars from the least to the greatest."
    about += left_out(section)
    figure = against_units(dict(sorted(lines.items())), axis, name == "rmse")
    return Exhibit(title, about, svg(figure, full(title, section, study)))


VERSUS = {"parameters": by_parameters, "settings": by_settings, "units": by_units}


def full(title: str, section: dict, study: str) -> str:
    """The title that no other figure of the page has."""
    return f"{title}, split {section['split']}: {study}"


def words(name: str) -> str:
    """The rest of a label, of its model and optimizer."""
    return " ".join(word for word in name.split() if "=" not in word)


def settings(name: str) -> dict[str, str]:
    """What a label says that differs within its study: setting -> value."""
    return dict(word.split("=", 1) for word in name.split() if "=" in word)
