"""Which models did best: groups beside each other, and beside published numbers."""

from collections.abc import Iterable, Mapping

from pipeline.command.refusal import Refusal
from pipeline.command.terminal import in_columns
from pipeline.exhibits.claims import compared, evidence
from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.groups import comparable, ranking, standing
from pipeline.exhibits.numbers import DOUBT, count, known, share, spread, written


def measures_in(study: dict) -> dict[str, Measure]:
    """How what a study's probes measured is read."""
    return {name: Measure(**measure) for name, measure in study["measures"].items()}


def compare(rows: list[dict], measures: Mapping[str, Measure]) -> list[dict]:
    """Groups by what may be compared, {"data", "split", "units", "ranked_by", "rows"} each, best first.

    Each row gets "best", true for the best of a section of several; one with seeds that diverged, or whose number is in
    doubt, is never the best.
    """
    sections = []
    for section in comparable(rows):
        section.sort(key=ranking(measures))
        for place, row in enumerate(section):
            row["best"] = place == 0 and len(section) > 1 and standing(row) == 0
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


def doubts(rows: Iterable[dict], heads: Mapping[str, str]) -> list[str]:
    """A line for each number of these columns (measure -> head) that must not be relied on."""
    return [
        f"{DOUBT} {row['label']}, {head}: {row['doubts'][name]}"
        for row in rows
        for name, head in heads.items()
        if name in row["doubts"]
    ]


def published_pairs(study: dict, measures: Mapping[str, Measure], heads: Mapping[str, str]) -> list[dict]:
    """Published numbers beside ours, a table a data set: {"data", "rows": [{..., "value", "ours", "difference"}],
    "doubts": lines below it}.

    A row is paired with the groups of the same data set, model and asked size, of any where its own is ""; "ours" is
    {"mean", "std"} of the published measure and "difference" ours minus published, both None where we did not run it.
    Raises Refusal for a measure that none of the study's probes has.
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
            group
            for group in study["groups"]
            if all(group[key] == row[key] for key in ("data", "model")) and row["size"] in ("", asked(group))
        ]
        for group in groups or [None]:
            ours = group and group["measured"].get(measure)
            gap = ours["mean"] - row["value"] if ours and known(ours["mean"]) else None
            size = asked(group) if group else row["size"]
            pair = row | {"size": size, "ours": ours, "difference": gap, "group": group}
            tables.setdefault(row["data"], []).append(pair)
    head = {measure: heads.get(measure, measure)}
    return [
        {"data": data, "rows": rows, "doubts": doubts((row["group"] for row in rows if row["group"]), head)}
        for data, rows in tables.items()
    ]


def asked(group: dict) -> str:
    """The size of its model as it was asked for (pipeline.runs.identity.asked_size)."""
    return group.get("asked_size", group["size"])


def as_text(study: dict) -> str:
    """A study's groups, best first, and its claims, for a terminal."""
    measures = measures_in(study)
    sections = compare(study["groups"], measures)
    heads = columns(sections, measures)
    rows = [row for section in sections for row in section["rows"]]
    table = [["", "parameters", *heads.values(), "targets/s", "seeds"]]
    for row in rows:
        diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
        table.append(
            [
                row["label"],
                f"{row['parameters']:,}",
                *(cell(row, name, measures[name].digits) for name in heads),
                count(row["targets_per_second"]["mean"]),
                f"{len(row['seeds'])}{diverged}",
            ]
        )
    lines = [f"\n{study['study']} ({study['scale']}): {study['question']}", *in_columns(table)]
    lines += doubts(rows, heads)
    for claim in study["claims"]:
        said = f"{claim['claim']} ({compared(claim, measures)})"
        lines.append(f"{claim['source']}: {said}: {claim['verdict']} ({evidence(claim, measures)})")
    return "\n".join(lines)


def cell(row: dict, name: str, digits: str) -> str:
    """A group's number with all that is to be known of it, as "1.600† ± 0.141 (2 of 3)"; nothing if it has none."""
    if name not in row["measured"]:
        return ""
    one, mark = row["measured"][name], DOUBT if name in row["doubts"] else ""
    parts = [written(one["mean"], digits) + mark, spread(one["std"], digits), share(row["by_seed"][name])]
    return " ".join(filter(None, parts))
