"""Measures the finished runs of a study on held-out data, and decides its claims.

Writes results/studies/<study>.json for the report, results/metrics/<study>.json (what ranks the models, but numbers in
doubt) and results/curves/<study>.csv (validation losses) for DVC, and results/<probe>/<run>/ with what a probe keeps.

Examples:
  lab evaluate study=architectures
  lab evaluate study=architectures scale=smoke
  lab evaluate -m model=rnn,lstm,gru optimizer=sgd,adam seed=0,1,2
  lab evaluate -m study.name=mine model=lstm,gru optimizer.lr=0.001,0.002
  lab evaluate hydra/sweeper=optuna study=architectures
"""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.command.terminal import meanwhile
from pipeline.command.verb import refused, verb
from pipeline.probes.probe import probes_of

if TYPE_CHECKING:
    from pipeline.runs.run import Run


def evaluate(cfg: DictConfig) -> dict:
    """Lets the probes of its data and of its study measure every run of the composed study; returns what
    results/studies/<study>.json holds: the runs, means and spreads over seeds, and what became of the study's claims.

    A run that diverged is measured by nothing. Neither is one that cannot be evaluated, which is named on standard
    error and in the results; those of the others are written all the same. Raises Refusal then, and when a run has
    neither finished nor diverged.
    """
    from tqdm import tqdm

    from pipeline.exhibits.claims import check, claims_of
    from pipeline.exhibits.comparison import as_text
    from pipeline.exhibits.groups import groups_of
    from pipeline.files.whole import write_atomically, write_json
    from pipeline.probes.probe import make_probe, measures_of
    from pipeline.runs.measured import write_back
    from pipeline.runs.study import given, labels, runs_of, search_of, study_of
    from pipeline.runs.tracking import refuse_unusable

    with meanwhile("loading ..."):
        found = [finished_run(run_cfg) for run_cfg in runs_of(cfg)]
    chosen: dict[str, dict] = {}
    for run in found:
        chosen |= {name: choice for name, choice in probes_of(run.config).items() if name not in chosen}
    measures = measures_of((name, make_probe(name, choice)) for name, choice in chosen.items())
    study, search = study_of(cfg), search_of(cfg)
    claims = claims_of(study.name, plain(cfg.study.get("claims")), measures)
    named = list(zip(found, labels([run.config for run in found]), strict=True))
    results = Path(cfg.paths.results)
    refuse_unusable(cfg.tracking)
    for kind in ("metrics", "curves", "studies"):  # before the work, not after it
        (results / kind).mkdir(parents=True, exist_ok=True)
    runs = [evaluated(run, *names) for run, names in tqdm(named, desc="evaluate", unit="run", disable=None)]
    measured = [run for run in runs if run["status"] != "failed"]
    failed = [run for run in runs if run["status"] == "failed"]
    if not measured:
        raise Refusal(f"no run of study={study.name} can be evaluated: {failed[0]['directory']}: {failed[0]['reason']}")
    groups = groups_of(measured)
    result = {
        "study": study.name,
        "scale": cfg.scale.name,
        "given": None if "question" in cfg.study and search is None else given(cfg),
        "question": study.question,
        "description": study.description,
        "versus": study.get("versus") if search is None else None,
        "search": search,
        "lecture": plain(study.get("lecture")),
        "probes": chosen,
        "measures": {name: measure._asdict() for name, measure in measures.items()},
        "runs": runs,
        "groups": groups,
        "claims": [check(claim, groups, measures) for claim in claims],
        "published": plain(study.get("published")),
    }
    ranks = {
        group["label"]: group["measured"].get(group["ranked_by"], {}).get("mean")
        for group in groups
        if group["ranked_by"] not in group["doubts"]
    }
    write_json(
        results / "metrics" / f"{study.name}.json",
        {label: mean for label, mean in ranks.items() if mean is not None},
    )
    write_atomically(results / "curves" / f"{study.name}.csv", curves(measured))
    write_json(results / "studies" / f"{study.name}.json", result)
    write_back(cfg, measured)
    print(as_text(result), flush=True)
    if failed:
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise Refusal(
            f"{len(failed)} of {len(runs)} runs could not be evaluated, the results are those of the others: "
            f"{failed[0]['directory']}: {failed[0]['reason']}{more}"
        )
    return result


def finished_run(cfg: DictConfig) -> "Run":
    """The composed run. Raises Refusal where it has neither finished nor diverged."""
    from pipeline.runs.run import Run
    from pipeline.runs.study import given

    run = Run.of(cfg)
    if run.directory.facts.get("status") not in ("finished", "diverged"):
        raise Refusal(f"{run.directory.path} has not finished: python -m pipeline.train -m {given(cfg)}")
    return run


def plain(node):
    """A node of a configuration as lists and dictionaries."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def who(run: "Run", label: str, data_label: str) -> dict:
    """What tells a run from others."""
    about = {key: run.directory.facts[key] for key in ("name", "hash", "seed")}
    return about | {"directory": str(run.directory.path), "label": label, "data": data_label}


def evaluated(run: "Run", label: str, data_label: str) -> dict:
    """evaluate_run, or the reason why it cannot be done."""
    try:
        return evaluate_run(run, label, data_label)
    except (Refusal, OSError) as error:
        return who(run, label, data_label) | {
            "status": "failed",
            "reason": str(refused(error)),
            "steps": None,
            "targets": None,
            "seconds": None,
            "probes": {},
            "measured": {},
            "doubts": {},
        }


def evaluate_run(run: "Run", label: str, data_label: str) -> dict:
    """What results/studies/<study>.json holds of a run."""
    from pipeline.exhibits.numbers import known
    from pipeline.files.whole import write_json
    from pipeline.probes.probe import make_probe
    from pipeline.runs.identity import asked_size, size

    cfg, data, facts = run.config, run.data, run.directory.facts
    last = (run.directory.records() or [None])[-1]
    diverged = facts["status"] == "diverged"
    result = who(run, label, data_label) | {
        "model": cfg.model.name,
        "optimizer": cfg.optimizer.name,
        "size": size(cfg.model),
        "asked_size": asked_size(cfg.model),
        "parameters": facts["parameters"],
        "split": data.card["split"],
        "units": data.answers.units._asdict(),
        "status": facts["status"],
        "steps": last and last["step"],
        "targets": last and last["targets"],
        "seconds": last and last["seconds"],
        "targets_per_second": last and last["targets"] / max(last["seconds"], 1e-9),
        "validation_loss": None if diverged else facts["validation"],
        "reached": facts.get("reached"),
        "probes": {},
        "measured": {},
        "doubts": {},
    }
    network = None if diverged else run.load()
    for name, choice in probes_of(cfg).items():
        probe = make_probe(name, choice)
        if diverged:
            result["measured"] |= dict.fromkeys(probe.measures)
        elif probe.fits(network, data):
            one = probe.measure(network, data, facts["seed"]) | probe.follow(run.earlier(), data, facts["seed"])
            result["probes"][name] = one
            for file, content in one.pop("files", {}).items():
                path = Path(cfg.paths.results) / name / run.directory.path.name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, content)
            result["doubts"] |= one.get("doubts", {})
            for measure in probe.measures:
                result["measured"][measure] = one[measure] if known(one.get(measure)) else None
    return result


def curves(runs: list[dict]) -> str:
    """Validation losses of every run as CSV: run, targets asked until then, loss."""
    from pipeline.runs.directory import RunDirectory

    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["run", "targets", "loss"])
    for run in runs:
        for record in RunDirectory(run["directory"]).records():
            if "validation" in record:
                table.writerow([f"{run['label']} s{run['seed']}", record["targets"], record["validation"]])
    return text.getvalue()


ASKED = (
    "study",
    "scale",
    "model",
    "data",
    "optimizer",
    "seed",
    "evaluation.length",
    "evaluation.temperature",
    "trainer.threads",
    "paths.runs",
    "paths.prepared",
    "paths.results",
    "tracking.uri",
)
main = verb(evaluate, ASKED, whole=True)

if __name__ == "__main__":
    main()
