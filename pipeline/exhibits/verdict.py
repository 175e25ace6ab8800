"""What came out of a study, in sentences."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping

from pipeline.exhibits.claims import FEWEST, widest
from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.groups import standing
from pipeline.exhibits.numbers import known, written

MOST = 4  # sections that are spoken of one by one


def sentences(sections: list[dict], measures: Mapping[str, Measure], claims: list[dict]) -> list[str]:
    """The answers under a study's question: of each section which model is best and by how much, and what became of
    the claims. `sections` as pipeline.exhibits.comparison.compare sorts them."""
    said = [best(section, measures, named=len(sections) > 1) for section in sections[:MOST]]
    if len(sections) > MOST:
        said.append(f"{len(sections) - MOST} more data sets are in the table.")
    return [one for one in said if one] + ([tally(claims)] if claims else [])


def best(section: dict, measures: Mapping[str, Measure], named: bool) -> str | None:
    """Which model is best and how far the next one is, by the mean difference, seed by seed, and half the width of its
    95% interval by Student's t; None where nothing ranks two models."""
    rows = [row for row in section["rows"] if standing(row) < 2]
    if len(rows) < 2:
        return None
    first, second = rows[:2]
    name = section["ranked_by"]
    measure = measures[name]
    unit = measure.axis(name, section["units"])
    where = f"On {section['data']}: " if named else ""
    value = written(first["measured"][name]["mean"], measure.digits)
    beside = "above" if measure.better == "high" else "below"
    gap, error, seeds = apart(first["by_seed"][name], second["by_seed"][name])
    if gap is None:
        gap = abs(first["measured"][name]["mean"] - second["measured"][name]["mean"])
    if gap == 0:
        return f"{where}{label(first)} and {label(second)} {value} ({unit}), alike."
    by = written(abs(gap), measure.digits)
    if error is not None:
        by += f" ± {written(error, measure.digits)}"
    how = f"{seeds} seeds each" if seeds > 1 else "one seed each, which tells no spread"
    sure = "" if error is None or error < abs(gap) else "; chance may explain it"
    return f"{where}{label(first)} {value} ({unit}), {beside} {label(second)} by {by} ({how}){sure}."


def label(row: Mapping) -> str:
    return row.get("name") or row["label"]


def apart(ours: Mapping[str, float | None], theirs: Mapping[str, float | None]) -> tuple:
    """Mean difference over the seeds that both have, half the width of its 95% interval (None of fewer than two), and
    how many those are."""
    both = [ours[seed] - theirs[seed] for seed in ours if known(ours[seed]) and known(theirs.get(seed))]
    if not both:
        return None, None, 0
    if len(both) < FEWEST:
        return both[0], None, 1
    return statistics.fmean(both), widest(len(both) - 1) * statistics.stdev(both) / math.sqrt(len(both)), len(both)


def tally(claims: list[dict]) -> str:
    """ "Of 4 claims 2 hold, 1 is contradicted, 1 is undecided."."""
    counts = Counter(claim["verdict"] for claim in claims)
    words = {
        "holds": ("holds", "hold"),
        "contradicted": ("is contradicted", "are contradicted"),
        "undecided": ("is undecided", "are undecided"),
        "not tried": ("was not tried", "were not tried"),
    }
    if len(claims) == 1:
        return f"The claim that {claims[0]['claim']} {words[claims[0]['verdict']][0]}."
    parts = [f"{counts[one]} {words[one][counts[one] > 1]}" for one in words if counts[one]]
    return f"Of {len(claims)} claims {', '.join(parts)}."
