"""Writes one static page from every results/studies/<study>.json and the runs they name:
`python -m pipeline.report`."""

import json
from pathlib import Path

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.verb import verb
from pipeline.exhibits import gallery, numbers
from pipeline.exhibits.comparison import columns, compare, measures_in, published_pairs
from pipeline.exhibits.curves import MOST_CURVES, curves
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.versus import VERSUS
from pipeline.files.whole import read_lines, write_atomically
from pipeline.probes.probe import make_probe

TEMPLATES = Path(__file__).parent / "exhibits" / "page"
OF_STUDY = {"study", "scale", "question", "probes", "measures", "runs", "groups"}
OF_GROUP = {"size", "units", "ranked_by", "measured"}


def report(cfg: DictConfig) -> None:
    """Writes the page and prints where it is."""
    page = write_report(Path(cfg.paths.results))
    print(f"{page}  open it in a browser: {page.resolve().as_uri()}", flush=True)


def write_report(results: Path) -> Path:
    """Path of the page, results/report/index.html, made from every results/studies/<study>.json and the runs'
    directories.

    The page holds its style and figures; it needs no network and no other file. What a run's directory lacks is said
    on the page. Raises Refusal if there are no results, a file is not as evaluate writes it, or a probe that it names
    is gone.
    """
    import jinja2

    studies = [present(read_study(path)) for path in sorted((results / "studies").glob("*.json"))]
    if not studies:
        raise Refusal(f"{results} holds no results: make them with `python -m pipeline.evaluate study=NAME`")
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters |= {name: getattr(numbers, name) for name in ("written", "spread", "difference", "count")}
    page = results / "report" / "index.html"
    write_atomically(page, templates.get_template("index.html").render(studies=studies))
    return page


def read_study(path: Path) -> dict:
    """The study that evaluate wrote to `path`, and its probes. Raises Refusal if it is not one, or a probe is gone."""
    again = f"write it again with `python -m pipeline.evaluate study={path.stem}`"
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(f"{path} is not JSON ({error}): {again}") from None
    missing = OF_STUDY - set(study)
    if not missing:
        missing = {key for group in study["groups"] for key in OF_GROUP - set(group)}
    if missing:
        raise Refusal(
            f"{path} is not the result of a study, it lacks {', '.join(sorted(missing))}: {again} or move it away"
        )
    try:
        study["made"] = {name: make_probe(name, choice) for name, choice in study["probes"].items()}
    except Refusal as refusal:
        raise Refusal(f"{path}: {refusal}: {again}") from None
    return study


def present(study: dict) -> dict:
    """What the template shows of a study: the study, with tables and exhibits, and the records of each run with it."""
    measures = measures_in(study)
    for run in study["runs"]:
        directory = Path(run["directory"])
        run["metrics"] = read_lines(directory / "metrics.jsonl")
        run["moments"] = gallery.moments(read_lines(directory / "samples.jsonl"))
        about = directory / "run.json"
        run["about"] = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    rows = []
    for group in study["groups"]:
        runs = sorted((run for run in study["runs"] if run["hash"] == group["hash"]), key=lambda run: run["seed"])
        seconds = sum(run["seconds"] or 0 for run in runs) / len(runs)
        rows.append(group | {"study": study["study"], "runs": runs, "seconds": seconds})
    sections = compare(rows, measures)
    for section in sections:
        for row in section["rows"]:
            row["name"] = row["label"].removeprefix(row["data"] + " ") if len(sections) > 1 else row["label"]
            for place, run in enumerate(row["runs"]):
                run["open"] = place == 0 and (len(rows) <= MOST_CURVES or row["best"])
    heads, published = columns(sections, measures), study.get("published")
    return study | {
        "sections": sections,
        "measures": measures,
        "columns": heads,
        "curves": curves(study["study"], sections),
        "exhibits": [*versus(study, sections, measures), *shown(study["made"], sections)],
        "pairs": published_pairs(study, measures) if published else [],
        "published_in": published and heads.get(published["measure"], published["measure"]),
        "claims": study.get("claims") or [],
        "stories": [
            gallery.story(row, run, measures) for section in sections for row in section["rows"] for run in row["runs"]
        ],
    }


def versus(study: dict, sections: list[dict], measures: dict[str, Measure]) -> list[Exhibit]:
    """What the study's models are drawn against, if it says so: an exhibit for each section."""
    if not study.get("versus"):
        return []
    if study["versus"] not in VERSUS:
        raise Refusal(f"study {study['study']}: study.versus={study['versus']}: take one of {', '.join(VERSUS)}")
    drawn = (VERSUS[study["versus"]](section, measures, study["study"]) for section in sections)
    return [exhibit for exhibit in drawn if exhibit is not None]


def shown(probes: dict, sections: list[dict]) -> list[Exhibit]:
    """What the probes show of the runs in which they found something."""
    exhibits = []
    for name, probe in probes.items():
        rows = []
        for row in (row for section in sections for row in section["rows"]):
            found = [run | {"found": run["probes"][name]} for run in row["runs"] if name in run["probes"]]
            rows += [row | {"runs": found}] if found else []
        exhibits += probe.show(rows) if rows else []
    return exhibits


main = verb(report)

if __name__ == "__main__":
    main()
