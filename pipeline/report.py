"""Writes one static page from every results/studies/<study>.json and the runs they name:
`python -m pipeline.report`."""

import json
import math
import unicodedata
from pathlib import Path

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.verb import verb
from pipeline.files.whole import read_lines, write_atomically

TEMPLATES = Path(__file__).parent / "exhibits" / "page"
MEASURES = {"nats per character": "test_loss", "bits per character": "test_bits"}  # unit of published numbers
MOST_CURVES = 8  # groups in one figure
FEW_CURVES = 6  # in each of several figures
MOST_SAMPLES = 5  # moments shown of a run
NOTHING = "\N{EM DASH}"


def report(cfg: DictConfig) -> None:
    """Writes the page and prints where it is."""
    page = write_report(Path(cfg.paths.results))
    print(f"{page}  open it in a browser: {page.resolve().as_uri()}", flush=True)


def write_report(results: Path) -> Path:
    """Path of the page, results/report/index.html, made from every results/studies/<study>.json
    and the runs' directories.

    The page holds its style and figures; it needs no network and no other file. What a run's directory lacks is said
    on the page. Raises Refusal if there are no results or a file is not as evaluate writes it.
    """
    import jinja2

    studies = [read_study(path) for path in sorted((results / "studies").glob("*.json"))]
    if not studies:
        raise Refusal(f"{results} holds no results: make them with `python -m pipeline.evaluate study=NAME`")
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters |= {"loss": loss, "spread": spread, "difference": difference, "count": count, "visible": visible}
    text = templates.get_template("index.html").render(studies=[present(study) for study in studies])
    page = results / "report" / "index.html"
    write_atomically(page, text)
    return page


def read_study(path: Path) -> dict:
    """The study that evaluate wrote to `path`. Raises Refusal if it is not one."""
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(
            f"{path} is not JSON ({error}): write it again with `python -m pipeline.evaluate study={path.stem}`"
        ) from None
    missing = {"study", "scale", "question", "runs", "groups"} - set(study)
    if not missing:
        missing = {key for group in study["groups"] for key in {"size", "unit", "test_loss"} - set(group)}
    if missing:
        raise Refusal(
            f"{path} is not the result of a study, it lacks {', '.join(sorted(missing))}: write it again "
            f"with `python -m pipeline.evaluate study={path.stem}` or move it away"
        )
    return study


def present(study: dict) -> dict:
    """What the template shows of a study: the study, with tables and figures, and the records of each run with it."""
    for run in study["runs"]:
        directory = Path(run["directory"])
        run["metrics"] = read_lines(directory / "metrics.jsonl")
        run["moments"] = moments(read_lines(directory / "samples.jsonl"))
        about = directory / "run.json"
        run["about"] = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    rows = []
    for group in study["groups"]:
        runs = sorted((run for run in study["runs"] if run["hash"] == group["hash"]), key=lambda run: run["seed"])
        rows.append(
            {"diverged": 0}
            | group
            | {
                "runs": runs,
                "symbols": runs[0]["symbols"],
                "seconds": sum(run["seconds"] or 0 for run in runs) / len(runs),
            }
        )
    sections = compare(rows)
    for row in rows:
        row["name"] = row["label"].removeprefix(row["data"] + " ") if len(sections) > 1 else row["label"]
    for section in sections:
        for row in section["rows"]:
            for place, run in enumerate(row["runs"]):
                run["open"] = place == 0 and (len(rows) <= MOST_CURVES or row["best"])
    return study | {
        "sections": sections,
        "figures": figures(study["study"], sections),
        "findings": findings(study, sections),
        "pairs": pair(study) if study.get("published") else [],
        "claims": study.get("claims") or [],
    }


def compare(rows: list[dict]) -> list[dict]:
    """Rows by what may be compared (data set, symbols and split), each section sorted by mean test loss, lowest first.

    Each row gets "best", true for the lowest of a section of several. Rows without a finite test loss come last.
    """
    sections: dict[tuple, list[dict]] = {}
    for row in rows:
        sections.setdefault((row["data"], row["symbols"], row["split"], row["unit"]), []).append(row)
    for section in sections.values():
        section.sort(key=lambda row: row["test_loss"]["mean"] if known(row["test_loss"]["mean"]) else math.inf)
        for place, row in enumerate(section):
            row["best"] = place == 0 and len(section) > 1 and known(row["test_loss"]["mean"])
    return [
        {"data": data, "symbols": symbols, "split": split, "unit": unit, "rows": section}
        for (data, symbols, split, unit), section in sections.items()
    ]


def figures(study: str, sections: list[dict]) -> list[dict]:
    """Loss curves, {"title", "svg"} each: a study in one figure or,
    if too many, a data set in figures of a few neighbours in rank."""
    from pipeline.exhibits.figures import loss_curves, svg

    rows = [row for section in sections for row in section["rows"]]
    if len(rows) <= MOST_CURVES:
        panels = [(study, rows)]
    else:
        panels = []
        for section in sections:
            ranked = section["rows"]
            for first in range(0, len(ranked), FEW_CURVES):
                panel = ranked[first : first + FEW_CURVES]
                rank = f", ranks {first + 1} to {first + len(panel)}" if len(ranked) > FEW_CURVES else ""
                panels.append((f"{study}, {ranked[0]['data']}, {ranked[0]['split']}{rank}", panel))
    drawn = []
    for name, panel in panels:
        name_of = "label" if len({row["data"] for row in panel}) > 1 else "name"
        curves = [(row[name_of], run["metrics"]) for row in panel for run in row["runs"] if run["metrics"]]
        if any(len(records) > 2 for _, records in curves):  # else no curve: learned in one pass
            title = f"Loss while training: {name}"
            drawn.append({"title": title, "svg": svg(loss_curves(curves, text=panel[0]["unit"] != "RMSE"), title)})
    return drawn


def findings(study: dict, sections: list[dict]) -> list[dict]:
    """What the study is about beside losses, {"title", "about", "svg"} each: loss by parameters or settings, forecasts
    of a series, bits that are carried."""
    from pipeline.exhibits.figures import against_parameters, against_settings, carried, forecasts, svg

    drawn, name = [], study["study"]
    for section in sections if study.get("versus") == "parameters" else ():
        points = [
            (row["name"], row["parameters"], row["test_loss"]["mean"])
            for row in section["rows"]
            if known(row["test_loss"]["mean"])
        ]
        title = f"Test loss by parameters: {name}, {section['data']}"
        drawn.append({"title": title, "about": "Mean over seeds.", "svg": svg(against_parameters(points), title)})
    for section in sections if study.get("versus") == "settings" else ():
        points = [
            (settings(row["name"]), run["test_loss"])
            for row in section["rows"]
            for run in row["runs"]
            if known(run["test_loss"])
        ]
        title = f"Test loss by settings: {name}, {section['data']}"
        drawn.append(
            {
                "title": title,
                "about": "A point a run; the line joins the best of each value, whatever the other settings.",
                "svg": svg(against_settings(points), title),
            }
        )
    for section in sections:
        shown = [
            (row["name"], run["forecast"]) for row in section["rows"] for run in row["runs"][:1] if run.get("forecast")
        ]
        if shown:
            best = f"The {FEW_CURVES} best of {len(shown)} models. " if len(shown) > FEW_CURVES else ""
            title = f"Forecasts: {name}, {section['data']}"
            drawn.append(
                {
                    "title": title,
                    "about": f"{best}Each reads its own forecasts from the beginning of the test part on; one seed. "
                    "Channel 1, as models read it.",
                    "svg": svg(forecasts(shown[:FEW_CURVES]), title),
                }
            )
    runs = [
        (row, run)
        for section in sections
        for row in section["rows"]
        for run in row["runs"]
        if known(run.get("carried_bits"))
    ]
    if runs:
        points = [(row["name"], run["message_bits"], run["carried_bits"]) for row, run in runs]
        bounds = {row["name"]: math.log2(int(row["size"])) for row, _ in runs if row["model"] == "hmm"}
        title = f"Bits carried: {name}"
        drawn.append(
            {
                "title": title,
                "about": "Bits of a message that reach its recall, in the mean over episodes: "
                "a point a seed, the line joins the best. "
                "Dashes: log2 N, what N states carry at most; dots: a perfect memory. Below zero: guesses worse than "
                "of one who forgot the message and knows where it ends.",
                "svg": svg(carried(points, bounds), title),
            }
        )
    return drawn


def settings(name: str) -> dict[str, str]:
    """What a label says that differs within its study: setting -> value."""
    return dict(word.split("=", 1) for word in name.split() if "=" in word)


def pair(study: dict) -> list[dict]:
    """Published numbers beside ours, a table a data set: {"data", "rows": [{..., "value", "ours", "difference"}]}.

    A row is paired with the groups of the same data set, model and size; "ours" is {"mean", "std"} in
    the published unit and "difference" ours minus published, both None where we did not run it. Raises Refusal for a
    unit that is not in MEASURES.
    """
    published = study["published"]
    if published["unit"] not in MEASURES:
        raise Refusal(
            f"study {study['study']}: published unit {published['unit']!r} is unknown, use one of "
            + ", ".join(MEASURES)
        )
    measure = MEASURES[published["unit"]]
    tables: dict[str, list[dict]] = {}
    for row in published["rows"]:
        cell = ("data", "model", "size")
        groups = [group for group in study["groups"] if all(group[key] == row[key] for key in cell)]
        for group in groups or [None]:
            ours = group and group[measure]
            gap = ours["mean"] - row["value"] if ours and known(ours["mean"]) else None
            tables.setdefault(row["data"], []).append(row | {"ours": ours, "difference": gap, "group": group})
    return [{"data": data, "rows": rows} for data, rows in tables.items()]


def moments(samples: list[dict]) -> list[dict]:
    """Samples of the moments to show, {"words", "step", "symbols", "samples"}: at first, train more, ..., at last."""
    steps = evenly(sorted({sample["step"] for sample in samples}), MOST_SAMPLES)
    words = ["at first", *["train more"] * (len(steps) - 2), "at last"] if len(steps) > 1 else ["at first and at last"]
    shown = [[sample for sample in samples if sample["step"] == step] for step in steps]
    return [
        {"words": word, "step": step, "symbols": some[0]["symbols"], "samples": some}
        for word, step, some in zip(words, steps, shown)
    ]


def evenly(steps: list[int], most: int) -> list[int]:
    """At most `most` of the increasing `steps`: the first, the last, and between them even spacing in log step."""
    if len(steps) <= most:
        return steps
    if steps[0] < 1:
        return [steps[0], *evenly(steps[1:], most - 1)]
    chosen = [0]
    for place in range(1, most - 1):
        wanted = steps[0] * (steps[-1] / steps[0]) ** (place / (most - 1))
        free = range(chosen[-1] + 1, len(steps) - (most - 1 - place))
        chosen.append(min(free, key=lambda index: abs(math.log(steps[index] / wanted))))
    return [steps[index] for index in (*chosen, len(steps) - 1)]


def known(number: float | None) -> bool:
    """Whether there is a number and it is finite."""
    return number is not None and math.isfinite(number)


def loss(number: float | None) -> str:
    """A loss with three decimals, a small one with two digits, an em dash if unknown."""
    return (
        NOTHING if not known(number) else f"{number:.3f}" if abs(number) >= 0.0095 or number == 0 else f"{number:.2g}"
    )


def spread(number: float | None) -> str:
    """A standard deviation with its sign, nothing if there is none."""
    return "" if not known(number) else f"± {number:.3f}" if number >= 0.0005 or number == 0 else f"± {number:.1g}"


def difference(number: float | None) -> str:
    """A difference with three decimals and its sign, an em dash if unknown."""
    return f"{number:+.3f}".replace("-", "\N{MINUS SIGN}") if known(number) else NOTHING


def count(number: float | None) -> str:
    """A number with separators of thousands, a decimal if below ten and not whole, an em dash if unknown."""
    if not known(number):
        return NOTHING
    return f"{number:,.1f}" if abs(number) < 10 and number != int(number) else f"{number:,.0f}"


def visible(text: str):
    """Escaped HTML of a text in which every character shows: control and format characters by number, as \\x07."""
    from markupsafe import Markup, escape

    def show(character: str) -> str:
        if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            return escape(character)
        code = ord(character)
        return Markup("<i>{}</i>").format(f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")

    return Markup("").join(map(show, text))


main = verb(report)

if __name__ == "__main__":
    main()
