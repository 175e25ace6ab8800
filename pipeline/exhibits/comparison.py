"""Which models did best: groups beside each other, and beside published numbers."""

from collections.abc import Mapping

from pipeline.command.refusal import Refusal
from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.groups import comparable, ranking
from pipeline.exhibits.numbers import count, difference, known, spread, written


def measures_in(study: dict) -> dict[str, Measure]:
    """How what a study's probes measured is read."""
    return {name: Measure(**measure) for name, measure in study["measures"].items()}


def compare(rows: list[dict], measures: Mapping[str, Measure]) -> list[dict]:
    """Groups by what may be compared, {"data", "split", "units", "ranked_by", "rows"} each, best first.

    Each row gets "best", true for the best of a section of several.
    """
    sections = []
    for section in comparable(rows):
        section.sort(key=ranking(measures))
        for place, row in enumerate(section):
            mean = row["measured"].get(row["ranked_by"], {}).get("mean")
            row["best"] = place == 0 and len(section) > 1 and known(mean)
        sections.append({key: section[0][key] for key in ("data", "split", "units", "ranked_by")} | {"rows": section})
    return sections


def columns(sections: list[dict], measures: Mapping[str, Measure]) -> dict[str, str]:
    """Measure that any row has -> the head of its column, with its unit where that is one for all sections."""
    heads = {}
    for name, measure in measures.items():
        having = [section for section in sections if any(name in row["measured"] for row in section["rows"])]
        axes = {measure.axis(name, section["units"]) for section in having}
        if having:
            heads[name] = axes.pop() if len(axes) == 1 else measure.head(name)
    return heads


def published_pairs(study: dict, measures: Mapping[str, Measure]) -> list[dict]:
    """Published numbers beside ours, a table a data set: {"data", "rows": [{..., "value", "ours", "difference"}]}.

    A row is paired with the groups of the same data set, model and size; "ours" is {"mean", "std"} of the published
    measure and "difference" ours minus published, both None where we did not run it. Raises Refusal for a measure that
    none of the study's probes has.
    """
    published = study["published"]
    measure = published.get("measure")
    if measure not in measures:
        raise Refusal(
            f"study {study['study']}: published.measure={measure} is measured by none of its probes: "
            f"take one of {', '.join(measures)}"
        )
    tables: dict[str, list[dict]] = {}
    for row in published["rows"]:
        groups = [
            group for group in study["groups"] if all(group[key] == row[key] for key in ("data", "model", "size"))
        ]
        for group in groups or [None]:
            ours = group and group["measured"].get(measure)
            gap = ours["mean"] - row["value"] if ours and known(ours["mean"]) else None
            tables.setdefault(row["data"], []).append(row | {"ours": ours, "difference": gap, "group": group})
    return [{"data": data, "rows": rows} for data, rows in tables.items()]


def as_text(study: dict) -> str:
    """A study's groups, best first, and its claims, for a terminal."""
    measures = measures_in(study)
    sections = compare(study["groups"], measures)
    heads = columns(sections, measures)
    table = [["", "parameters", *heads.values(), "targets/s", "seeds"]]
    for row in (row for section in sections for row in section["rows"]):
        cells = [f"{row['parameters']:,}"]
        for name in heads:
            one, digits = row["measured"].get(name), measures[name].digits
            cells.append(f"{written(one['mean'], digits)} {spread(one['std'], digits)}".strip() if one else "")
        diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
        cells += [count(row["targets_per_second"]["mean"]), f"{len(row['seeds'])}{diverged}"]
        table.append([row["label"], *cells])
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = [f"\n{study['study']} ({study['scale']}): {study['question']}"]
    for label, *cells in table:
        lines.append("  ".join([label.ljust(widths[0]), *(c.rjust(width) for c, width in zip(cells, widths[1:]))]))
    for claim in study["claims"]:
        digits = measures[claim["measure"]].digits if claim["measure"] in measures else ".3f"
        evidence = f" ({difference(claim['difference'], digits)} ± {written(claim['error'], digits)})"
        lines.append(f"{claim['source']}: {claim['claim']}: {claim['verdict']}" + evidence * known(claim["difference"]))
    return "\n".join(lines)
