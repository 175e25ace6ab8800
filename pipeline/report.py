"""Writes one static page from every results/studies/<study>.json and the runs they name, and published numbers beside
ours as a text.

Examples:
  lab report
  lab report paths.results=elsewhere
"""

import os
from pathlib import Path
from urllib.parse import quote

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.verb import verb
from pipeline.exhibits import gallery, numbers
from pipeline.exhibits.claims import compared, evidence
from pipeline.exhibits.commands import evaluating, training
from pipeline.exhibits.comparison import columns, compare, doubts, measures_in, published_pairs
from pipeline.exhibits.curves import MOST_CURVES, curves
from pipeline.exhibits.equations import equations
from pipeline.exhibits.exhibit import Exhibit, Measure
from pipeline.exhibits.lecture import deciding, opened
from pipeline.exhibits.published import document
from pipeline.exhibits.results import Study
from pipeline.exhibits.search import searched
from pipeline.exhibits.tables import scrolled
from pipeline.exhibits.verdict import sentences
from pipeline.exhibits.versus import VERSUS
from pipeline.files.whole import read_json, write_atomically
from pipeline.probes.probe import make_probe
from pipeline.runs.code import changed
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import flat, identifying
from pipeline.runs.links import link

TEMPLATES = Path(__file__).parent / "exhibits" / "page"


def report(cfg: DictConfig) -> None:
    """Writes the page, and published.md beside it, and prints where they are."""
    page = write_report(Path(cfg.paths.results))
    print(f"{page}  open it in a browser: {page.resolve().as_uri()}", flush=True)
    print(f"{page.with_name('published.md')}  published numbers, and ours", flush=True)


def write_report(results: Path) -> Path:
    """Path of the page, results/report/index.html, made from every results/studies/<study>.json and the runs'
    directories; beside it published.md, of pipeline.exhibits.published.

    The page holds its style and figures; it needs no network and no other file. What a run's directory lacks is said
    on the page. Raises Refusal if there are no results, a file is not as evaluate or train writes it, or a probe that
    it names is gone.
    """
    import jinja2

    page = results / "report" / "index.html"
    found = [arranged(read_study(path), page) for path in sorted((results / "studies").glob("*.json"))]
    studies = [present(study, found) for study in found]
    if not studies:
        raise Refusal(f"{results} holds no results: make them with `python -m pipeline.evaluate study=NAME`")
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters |= {
        name: getattr(numbers, name) for name in ("written", "spread", "share", "difference", "count")
    }
    templates.filters |= {"compared": compared, "evidence": evidence, "scrolled": scrolled}
    templates.globals["DOUBT"] = numbers.DOUBT
    lecture, asked = opened(studies, deciding()), asked_for()
    write_atomically(page, templates.get_template("index.html").render(studies=studies, lecture=lecture, asked=asked))
    write_atomically(page.with_name("published.md"), document(studies))
    return page


def asked_for() -> list[str]:
    """The studies of params.yaml, which `dvc repro` keeps up to date; none where there is none."""
    import yaml

    parameters = Path("params.yaml")
    return yaml.safe_load(parameters.read_text(encoding="utf-8"))["studies"] if parameters.exists() else []


def read_study(path: Path) -> dict:
    """The study that evaluate wrote to `path`, with its probes and the place to mend it. Raises Refusal if it is not
    one, or a probe is gone."""
    again = f"write it again with `python -m pipeline.evaluate study={path.stem}`, or move it away"
    study = read_json(path, again, Study)
    why = contradiction(study)
    if why is not None:
        raise Refusal(f"{path} is damaged ({why}): {again}")
    try:
        study["made"] = {name: make_probe(name, choice) for name, choice in study["probes"].items()}
    except Refusal as refusal:
        raise Refusal(f"{path}: {refusal}: {again}") from None
    return study | {"path": path, "again": again}


def contradiction(study: dict) -> str | None:
    """What one part of a study says of another and does not hold."""
    evaluated = {run["hash"] for run in study["runs"] if run["status"] != "failed"}
    for search in study.get("search") or []:
        if search["best"] not in [trial["number"] for trial in search["trials"]]:
            return f"the search of {search['name']} has no trial {search['best']}"
    for group in study["groups"]:
        measures = {*group["measured"], *{group["ranked_by"]} - {None}}
        for name in measures - set(study["measures"]):
            return f"{group['label']} has {name}, which is none of its measures"
        for name in set(group["measured"]) - set(group["by_seed"]):
            return f"by_seed of {group['label']} lacks {name}"
        if group["hash"] not in evaluated:
            return f"{group['label']} has no run"
    return None


def read_run(run: dict, page: Path) -> dict:
    """A study's run with what its directory holds, and links from the page to that and to MLflow. Nothing of one that
    was not evaluated: its files may be why."""
    directory = RunDirectory(run["directory"])
    run = run | {"folder": folder(directory.path, page), "mlflow": None, "model_settings": {}}
    if run["status"] == "failed":
        about = directory.legible_facts
        about = about and about | {"status": "not evaluated"}
        return run | {"metrics": [], "moments": [], "about": about, "settings": {}}
    moments, records, about = gallery.moments(directory.written()), directory.records(), directory.facts
    run |= {"metrics": records, "moments": moments, "about": about, "mlflow": link(about), "settings": {}}
    if (directory.path / "config.yaml").exists():
        identity = identifying(directory.config())
        run |= {"settings": settings(identity), "model_settings": identity["model"]}
    return run


def folder(run: Path, page: Path) -> str | None:
    """The address of a run's directory as from the page; None where there is none."""
    return quote(os.path.relpath(run, page.parent)) + "/" if run.is_dir() else None


def settings(identity: dict[str, dict]) -> dict:
    """What a run was set to of what changes its result, "model.hidden" -> value, and "schedule" -> the name of its
    function."""
    found = {}
    for key, value in flat(identity).items():
        place, _, last = key.rpartition(".")
        if last == "name":
            found[place] = value
        elif last == "_target_":
            found.setdefault(place, value.rpartition(".")[2])
        elif last not in ("_partial_", "rule") and value is not None and place != "trainer.sample":
            found[key] = value
    return found


def arranged(study: dict, page: Path) -> dict:
    """The study with its runs as `read_run` gives them, its measures, and its groups in sections, best first."""
    measures = measures_in(study)
    study = study | {"runs": [read_run(run, page) for run in study["runs"]]}
    evaluated = [run for run in study["runs"] if run["status"] != "failed"]
    rows = []
    for group in study["groups"]:
        runs = sorted((run for run in evaluated if run["hash"] == group["hash"]), key=lambda run: run["seed"])
        seconds = sum(run["seconds"] or 0 for run in runs) / len(runs)
        rows.append(group | {"study": study["study"], "runs": runs, "seconds": seconds})
    sections = compare(rows, measures)
    for section in sections:
        for row in section["rows"]:
            row["name"] = row["label"].removeprefix(row["data"] + " ") if len(sections) > 1 else row["label"]
            for place, run in enumerate(row["runs"]):
                run["open"] = place == 0 and (len(rows) <= MOST_CURVES or row["best"])
    return study | {"measures": measures, "sections": sections}


def present(study: dict, studies: list[dict]) -> dict:
    """What the template shows of a study: the study, with tables and exhibits, and the records of each run with it.

    studies  all of the report, and this one, as `arranged` gives them
    """
    measures, sections = study["measures"], study["sections"]
    evaluated = [run for run in study["runs"] if run["status"] != "failed"]
    heads, published = columns(sections, measures), study["published"] and {"note": None} | study["published"]
    return study | {
        "verdict": sentences(sections, measures, study["claims"] or []),
        "columns": heads,
        "equations": equations(run["model_settings"] for run in evaluated if run["model_settings"]),
        "trained": max((run["steps"] or 0 for run in evaluated), default=0),
        "outdated": outdated(study),
        "doubts": doubts(rows_of(study), heads),
        "curves": curves(study["study"], sections),
        "exhibits": [
            *left_out(study["runs"]),
            *searched(study),
            *versus(study, sections, measures),
            *shown(study, studies),
        ],
        "published": published,
        "pairs": published_pairs(study, measures, heads) if published else [],
        "published_in": published and heads.get(published["measure"], published["measure"]),
        "claims": study["claims"] or [],
        "stories": [
            gallery.story(row, run, measures) for section in sections for row in section["rows"] for run in row["runs"]
        ],
    }


def outdated(study: dict) -> list[str]:
    """Why the results may not be those of today, a line each, with the command that mends it."""
    runs, lines = [run for run in study["runs"] if run["about"]], []
    old = [modules for run in runs if (modules := changed(run["about"]))]
    if old:
        modules = ", ".join(dict.fromkeys(module for some in old for module in some))
        lines.append(
            f"{len(old)} of {len(runs)} runs were trained by code that has changed since ({modules}): "
            f"{training(study, 'fresh=code')}"
        )
    evaluated = study["path"].stat().st_mtime
    bests = [RunDirectory(run["directory"]).best for run in runs]
    newer = sum(best.exists() and best.stat().st_mtime > evaluated for best in bests)
    if newer:
        lines.append(f"{newer} of {len(runs)} runs were trained again since they were evaluated: {evaluating(study)}")
    return lines


def left_out(runs: list[dict]) -> list[Exhibit]:
    """The runs that were not evaluated, with their reasons, if there are any."""
    from markupsafe import Markup

    failed = [run for run in runs if run["status"] == "failed"]
    if not failed:
        return []
    lines = (Markup("<li>{}, seed {}: {}</li>\n").format(run["label"], run["seed"], run["reason"]) for run in failed)
    about = "They count nowhere on this page. Once they are mended, evaluate the study again."
    return [Exhibit("Runs that were not evaluated", about, Markup("<ul>\n{}</ul>").format(Markup("").join(lines)))]


def versus(study: dict, sections: list[dict], measures: dict[str, Measure]) -> list[Exhibit]:
    """What the study's models are drawn against, if it says so: an exhibit for each section."""
    if not study["versus"]:
        return []
    if study["versus"] not in VERSUS:
        raise Refusal(f"study {study['study']}: study.versus={study['versus']}: take one of {', '.join(VERSUS)}")
    drawn = (VERSUS[study["versus"]](section, measures, study["study"]) for section in sections)
    return [exhibit for exhibit in drawn if exhibit is not None]


def shown(study: dict, studies: list[dict]) -> list[Exhibit]:
    """What the study's probes show of the runs in which they found something, and of the studies that they name beside
    it. Raises Refusal where it is not what they find."""
    exhibits = []
    for name, probe in study["made"].items():
        rows = []
        for row in rows_of(study):
            found = [run | {"found": run["probes"][name]} for run in row["runs"] if name in run["probes"]]
            rows += [row | {"runs": found}] if found else []
        if rows:
            others = [one for one in studies if one["study"] in probe.beside and one["study"] != study["study"]]
            rows += [row for one in others for row in rows_of(one)]
        try:
            exhibits += probe.show(rows) if rows else []
        except (KeyError, TypeError) as error:  # each probe alone knows the form of what it finds
            why = f"probe {name} cannot show it, {type(error).__name__} {error}"
            raise Refusal(f"{study['path']} is damaged ({why}): {study['again']}") from error
    return exhibits


def rows_of(study: dict) -> list[dict]:
    """A study's groups, best first within each section."""
    return [row for section in study["sections"] for row in section["rows"]]


main = verb(report, ("paths.results",))

if __name__ == "__main__":
    main()
