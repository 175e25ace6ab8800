"""What papers published, what came out here, and at what cost: docs/published.md."""

from collections.abc import Iterable, Mapping

from pipeline.exhibits.commands import evaluating, training
from pipeline.exhibits.comparison import cell
from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.numbers import count, difference, known, written

HEAD = """# Published numbers, and ours

Made by `python -m pipeline.report` from `results/studies/`, and copied from `results/report/published.md` by
`make published`: change nothing here by hand.

"ours" is the mean over seeds, by the weights of the best validation; steps, and hours of training, are means too.
A number is met where ours is no worse, or worse by no more than the part of it that is said below.
"""
COLUMNS = (
    "data",
    "model",
    "published",
    "ours",
    "difference",
    "verdict",
    "seeds",
    "steps",
    "hours",
    "there after",
    "machine",
    "code",
    "run",
)
PER_HOUR = 3600


def document(studies: Iterable[dict]) -> str:
    """Markdown: a section for each study that has published numbers, as `pipeline.report.present` gives them."""
    return "\n".join([HEAD, *(section(study) for study in studies if study["pairs"])])


def section(study: dict) -> str:
    """A study's published numbers that were tried, with verdicts, and the settings that their runs share."""
    published, name = study["published"], study["published"]["measure"]
    rows = [row for table in study["pairs"] for row in table["rows"]]
    tried = [row for row in rows if row["group"]]
    within = published.get("within", 0.0)
    lines = [
        f"## {study['study']}",
        f"{study['question']} At scale `{study['scale']}`:",
        f"```\n{training(study)}\n{evaluating(study)}\n```",
        " ".join(
            filter(
                None,
                [
                    f"Published: {published['source'].rstrip('.')}. In {study['published_in']}.",
                    f"Met: worse by {within:.0%} at most." if within else None,
                    published["note"],
                    f"Tried were {len(tried)} of {len(rows)}." if len(tried) < len(rows) else None,
                ],
            )
        ),
    ]
    if tried:
        of = {
            row["group"]["hash"]: [one for one in study["runs"] if one["hash"] == row["group"]["hash"]] for row in tried
        }
        table = [
            COLUMNS,
            ["---"] * len(COLUMNS),
            *(entries(row, of[row["group"]["hash"]], name, within, study["measures"]) for row in tried),
        ]
        lines.append("\n".join(f"| {' | '.join(one)} |" for one in table))
        shared = common([run["settings"] for runs in of.values() for run in runs])
        if shared:
            lines.append(f"Set alike in all of them:\n\n```\n{' '.join(shared)}\n```")
    return "\n\n".join(lines) + "\n"


def entries(row: dict, runs: list[dict], name: str, within: float, measures: Mapping[str, Measure]) -> list[str]:
    """A row of the table: a published number and the runs that stand beside it, in any order of seeds."""
    first, measure, group = min(runs, key=lambda run: run["seed"]), measures[name], row["group"]
    about = first["about"] or {}
    code = about.get("code") or {"commit": None, "dirty": False}
    worst = row["value"] * (1 + within if measure.better == "low" else 1 - within)
    return [
        row["data"],
        f"{row['model']} {row['size']}",
        written(row["value"], f".{max(3, decimals(row['value']))}f") + (f" ({row['of']})" if row.get("of") else ""),
        cell(group, name, ".4f" if decimals(row["value"]) > 3 else measure.digits),
        difference(row["difference"], ".4f" if decimals(row["value"]) > 3 else measure.digits),
        verdict(row, name, worst, measure),
        str(len(group["seeds"])),
        count(mean(run["steps"] for run in runs)),
        written(mean(run["seconds"] for run in runs) / PER_HOUR, ".2f"),
        reached(first, group, name, worst),
        about.get("machine", "unknown"),
        (code["commit"] or "unknown")[:10] + " changed" * bool(code["dirty"]),
        f"`{first['directory'].rpartition('/')[2]}`",
    ]


def verdict(row: dict, name: str, worst: float, measure: Measure) -> str:
    """Whether ours is no worse than `worst`."""
    if name in row["group"]["doubts"]:
        return "in doubt"
    if not row["ours"] or not known(row["ours"]["mean"]):
        return "diverged"
    ours = row["ours"]["mean"]
    return "met" if (ours <= worst if measure.better == "low" else ours >= worst) else "missed"


def reached(run: dict, group: dict, name: str, worst: float) -> str:
    """The first validation no worse than `worst`, where a run is judged on its validation part: steps and hours."""
    if not group["units"]["loss"].startswith(f"{name}/") or group["split"].count("-") != 1:
        return ""
    first = next((record for record in run["metrics"] if record.get("validation", worst + 1) <= worst), None)
    return f"{first['step']:,} steps, {first['seconds'] / PER_HOUR:.2f} h" if first else ""


def common(settings: list[dict]) -> list[str]:
    """What all of them set alike, as on the command line."""
    return [
        f"{key}={value}"
        for key, value in settings[0].items()
        if all(key in other and other[key] == value for other in settings)
    ]


def decimals(number: float) -> int:
    return len(str(number).partition(".")[2])


def mean(numbers: Iterable[float | None]) -> float:
    found = [number or 0 for number in numbers]
    return sum(found) / len(found)
