"""A study's loss curves, in as many figures as are readable."""

from pipeline.exhibits.exhibit import Exhibit
from pipeline.exhibits.figures import loss_curves, svg
from pipeline.exhibits.groups import together

MOST_CURVES = 8  # groups in one figure
FEW_CURVES = 6  # in each of several figures


def curves(study: str, sections: list[dict]) -> list[Exhibit]:
    """A figure for all groups whose losses have the same units, or, where a study has too many, figures of a few
    neighbours in rank for each section.

    sections  pipeline.exhibits.comparison.compare, each run with its "metrics" and each row with its "name"
    """
    rows = [row for section in sections for row in section["rows"]]
    if len(rows) <= MOST_CURVES:
        panels = []
        for alike in together(rows, lambda row: row["units"]):
            data = list(dict.fromkeys(row["data"] for row in alike))
            panels.append((study if len(alike) == len(rows) else f"{study}, {', '.join(data)}", alike))
    else:
        panels = []
        for section in sections:
            ranked = section["rows"]
            for first in range(0, len(ranked), FEW_CURVES):
                panel = ranked[first : first + FEW_CURVES]
                rank = f", ranks {first + 1} to {first + len(panel)}" if len(ranked) > FEW_CURVES else ""
                panels.append((f"{study}, {section['data']}, {section['split']}{rank}", panel))
    drawn = []
    for name, panel in panels:
        name_of = "label" if len({row["data"] for row in panel}) > 1 else "name"
        found = [(row[name_of], run["metrics"]) for row in panel for run in row["runs"] if run["metrics"]]
        if any(len(records) > 2 for _, records in found):  # else no curve: learned in one pass
            title = f"Loss while training: {name}"
            drawn.append(Exhibit(title, "", svg(loss_curves(found, panel[0]["units"]), title)))
    return drawn
