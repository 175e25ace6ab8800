"""What the finished runs of a study are worth: `python -m pipeline.evaluate study=architectures`.

Writes results/studies/<study>.json for the report, results/metrics/<study>.json (what ranks the models) and
results/curves/<study>.csv (validation losses) for DVC.
"""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.command.verb import verb

if TYPE_CHECKING:
    from pipeline.datasets.data import Data
    from pipeline.runs.directory import RunDirectory


def evaluate(cfg: DictConfig) -> dict:
    """Lets the probes of its data and of its study measure every run of the composed study; returns what
    results/studies/<study>.json holds: the runs, means and spreads over seeds, and what became of the study's claims.

    A run that diverged is measured by nothing. Raises Refusal when a run has neither finished nor diverged.
    """
    from tqdm import tqdm

    from pipeline.exhibits.claims import check
    from pipeline.exhibits.comparison import as_text
    from pipeline.exhibits.groups import groups_of
    from pipeline.files.whole import write_atomically, write_json
    from pipeline.probes.probe import make_probe, measures_of
    from pipeline.runs.study import labels, runs_of

    found = [finished_run(run_cfg) for run_cfg in runs_of(cfg)]
    chosen: dict[str, dict] = {}
    for run_cfg, *_ in found:
        chosen |= {name: choice for name, choice in probes_of(run_cfg).items() if name not in chosen}
    measures = measures_of((name, make_probe(name, choice)) for name, choice in chosen.items())
    named = list(zip(found, labels([run_cfg for run_cfg, *_ in found]), strict=True))
    runs = [evaluate_run(*one, *names) for one, names in tqdm(named, desc="evaluate", unit="run", disable=None)]
    groups = groups_of(runs)
    study = cfg.study
    result = {
        "study": study.name,
        "scale": cfg.scale.name,
        "question": study.question,
        "description": study.description,
        "versus": study.get("versus"),
        "probes": chosen,
        "measures": {name: measure._asdict() for name, measure in measures.items()},
        "runs": runs,
        "groups": groups,
        "claims": [check(claim, groups, measures) for claim in plain(study.get("claims")) or []],
        "published": plain(study.get("published")),
    }
    results = Path(cfg.paths.results)
    ranks = {group["label"]: group["measured"].get(group["ranked_by"], {}).get("mean") for group in groups}
    write_json(
        results / "metrics" / f"{study.name}.json",
        {label: mean for label, mean in ranks.items() if mean is not None},
    )
    write_atomically(results / "curves" / f"{study.name}.csv", curves(runs))
    write_json(results / "studies" / f"{study.name}.json", result)
    print(as_text(result))
    return result


def finished_run(cfg: DictConfig) -> tuple[DictConfig, "Data", "RunDirectory"]:
    """Of a composed run its settled configuration, its data and its directory. Raises Refusal where it has neither
    finished nor diverged."""
    from pipeline.datasets.data import load_data
    from pipeline.runs.directory import RunDirectory
    from pipeline.runs.identity import identify
    from pipeline.runs.settling import settle

    data = load_data(cfg.data)
    settled = settle(cfg, data)
    run = RunDirectory(identify(settled, data).directory)
    if run.facts.get("status") not in ("finished", "diverged"):
        raise Refusal(
            f"{run.path} has not finished: python -m pipeline.train -m study={cfg.study.name} scale={cfg.scale.name}"
        )
    return settled, data, run


def probes_of(cfg: DictConfig) -> dict[str, dict]:
    """The choices of probes for a run by name: those of its data, then those of its study."""
    return (plain(cfg.data.get("probes")) or {}) | (plain(cfg.study.get("probes")) or {})


def plain(node):
    """A node of a configuration as lists and dictionaries."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def evaluate_run(cfg: DictConfig, data: "Data", run: "RunDirectory", label: str, data_label: str) -> dict:
    """What results/studies/<study>.json holds of a run."""
    import torch

    from pipeline.exhibits.numbers import known
    from pipeline.files.whole import read_lines
    from pipeline.probes.probe import make_probe
    from pipeline.runs.building import load_network
    from pipeline.runs.identity import size

    torch.set_num_threads(cfg.trainer.threads)
    facts = run.facts
    last = (read_lines(run.metrics) or [None])[-1]
    diverged = facts["status"] == "diverged"
    result = {
        "name": facts["name"],
        "directory": str(run.path),
        "hash": facts["hash"],
        "seed": facts["seed"],
        "label": label,
        "data": data_label,
        "model": cfg.model.name,
        "optimizer": cfg.optimizer.name,
        "size": size(cfg.model),
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
    }
    network = None if diverged else load_network(run, data)
    for name, choice in probes_of(cfg).items():
        probe = make_probe(name, choice)
        if diverged:
            result["measured"] |= dict.fromkeys(probe.measures)
        elif probe.fits(network, data):
            one = result["probes"][name] = probe.measure(network, data, facts["seed"])
            for measure in probe.measures:
                result["measured"][measure] = one[measure] if known(one.get(measure)) else None
    return result


def curves(runs: list[dict]) -> str:
    """Validation losses of every run as CSV: run, targets asked until then, loss."""
    from pipeline.files.whole import read_lines

    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["run", "targets", "loss"])
    for run in runs:
        for record in read_lines(Path(run["directory"]) / "metrics.jsonl"):
            if "validation" in record:
                table.writerow([f"{run['label']} s{run['seed']}", record["targets"], record["validation"]])
    return text.getvalue()


main = verb(evaluate)

if __name__ == "__main__":
    main()
