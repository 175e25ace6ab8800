"""What a hyperparameter search found: the best settings, the value of each trial against each setting, and which
settings mattered."""

from pipeline.exhibits.exhibit import Exhibit
from pipeline.exhibits.figures import against_values, svg
from pipeline.exhibits.groups import together
from pipeline.exhibits.numbers import known, written
from pipeline.exhibits.tables import in_cells


def searched(study: dict) -> list[Exhibit]:
    """The exhibits of a study that a search has made, those of the same units together, the best search first; none of
    others."""
    ranked = sorted(study.get("search") or [], key=lambda one: trial(one)["value"])
    alike = together(ranked, lambda one: one["units"])
    return [exhibit for searches in alike for exhibit in shown(searches, study["study"])]


def shown(searches: list[dict], study: str) -> list[Exhibit]:
    units = searches[0]["units"]
    axis = f"validation loss, {units['loss']}"
    exhibits = [Exhibit("The best of each search", about(searches), best(searches, axis, units["digits"]))]
    keys = list(dict.fromkeys(one["key"] for search in searches for one in search["parameters"]))
    panels = [(key, points(searches, key), is_log(searches, key)) for key in keys]
    panels = [panel for panel in panels if any(found for _, found in panel[1])]
    if panels:
        title = f"{axis} by what was searched: {', '.join(search['name'] for search in searches)}, {study}"
        figure = against_values(panels, axis, units["logarithmic"])
        words = "A point a trial; a ring is around the best."
        exhibits.append(Exhibit("The trials of each search", words, svg(figure, title)))
    having = [search for search in searches if search["importances"]]
    if having:
        names = list(dict.fromkeys(name for search in having for name in search["importances"]))
        lines = [[one["name"], *(f"{one['importances'].get(name, 0):.0%}" for name in names)] for one in having]
        words = "How much of the differences between its trials each setting explains (fANOVA, Hutter et al. 2014)."
        exhibits.append(Exhibit("What mattered in each search", words, in_cells(["", *names], lines)))
    return exhibits


def about(searches: list[dict]) -> str:
    """How much was tried, and whether the ranges were wide enough."""
    seeds = {len(search["seeds"]) for search in searches}
    mean = f" Of each trial the mean over {seeds.pop()} seeds." if seeds != {1} and len(seeds) == 1 else ""
    words = "The runs above have the settings of the trial with the least validation loss." + mean
    for search in searches:
        if search["at_its_end"]:
            names = ", ".join(search["at_its_end"])
            words += f" The best {names} of {search['name']} lies at an end of its range: a better one may lie beyond."
    return words


def best(searches: list[dict], axis: str, digits: str):
    """A table of the best trial of each search, with the range of each of its settings."""
    lines = []
    for search in searches:
        found = trial(search)
        parameters = {one["key"]: one for one in search["parameters"]}
        settings = ", ".join(f"{key}={value} ({among(parameters[key])})" for key, value in found["settings"].items())
        diverged = sum(not known(one["value"]) for one in search["trials"])
        count = f"{len(search['trials'])}" + f", {diverged} diverged" * bool(diverged)
        lines.append([search["name"], written(found["value"], digits), settings or "as they are", count])
    return in_cells(["", axis, "settings, and what was searched", "trials"], lines)


def trial(search: dict) -> dict:
    """The best trial of a search."""
    return next(one for one in search["trials"] if one["number"] == search["best"])


def among(parameter: dict) -> str:
    if parameter["choices"] is not None:
        return f"of {', '.join(parameter['choices'])}"
    return f"{parameter['low']:g} to {parameter['high']:g}"


def is_log(searches: list[dict], key: str) -> bool:
    return any(one["log"] for search in searches for one in search["parameters"] if one["key"] == key)


def points(searches: list[dict], key: str) -> list[tuple[str, list[tuple[float | str, float, bool]]]]:
    """Of each search its name and (value of the setting, loss, whether it is the best) of each trial with a loss."""
    return [
        (
            search["name"],
            [
                (one["settings"][key], one["value"], one["number"] == search["best"])
                for one in search["trials"]
                if key in one["settings"] and known(one["value"])
            ],
        )
        for search in searches
    ]
