"""What the finished runs of a study are worth: `python -m pipeline.evaluate study=architectures`.

Writes results/studies/<study>.json for the report, results/metrics/<study>.json (test losses) and
results/curves/<study>.csv (validation losses) for DVC.
"""

import csv
import io
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.command.verb import verb

NUMBERS = (
    "steps",
    "symbols_read",
    "seconds",
    "symbols_per_second",
    "validation_loss",
    "test_loss",
    "test_bits",
    "test_symbols",
    "unknown_symbols",
    "carried_bits",
    "message_bits",
    "forecast",
)


def evaluate(cfg: DictConfig) -> dict:
    """Evaluates every run of the composed study on the whole test part
    and returns what results/studies/<study>.json holds.

    Losses with the state carried through the part: nats and bits per symbol, or the root mean squared error of one step
    ahead, with a forecast that reads what it has written; mean and sample standard deviation over seeds. Splits in two
    parts have no test part: their validation part is the held-out one. A run that diverged has no loss. Raises Refusal
    when a run has neither finished nor diverged.
    """
    from pipeline.files.whole import write_atomically, write_json
    from pipeline.runs.directory import RunDirectory
    from pipeline.runs.identity import directory_of
    from pipeline.runs.study import labels, runs_of

    configurations = runs_of(cfg)
    directories = [RunDirectory(directory_of(run_cfg)) for run_cfg in configurations]
    found = list(zip(configurations, labels(configurations), directories, strict=True))
    for run in directories:
        if run.facts.get("status") not in ("finished", "diverged"):
            raise Refusal(
                f"{run.path} has not finished: "
                f"python -m pipeline.train -m study={cfg.study.name} scale={cfg.scale.name}"
            )
    runs = [_evaluate_run(*one) for one in _progress(found, "evaluate")]
    groups = _groups(runs)
    result = {
        "study": cfg.study.name,
        "scale": cfg.scale.name,
        "question": cfg.study.question,
        "description": cfg.study.description,
        "versus": cfg.study.get("versus"),
        "runs": runs,
        "groups": groups,
        "claims": [check(claim, groups) for claim in cfg.study.get("claims") or []],
        "published": OmegaConf.to_container(cfg.study.published) if cfg.study.get("published") else None,
    }
    results = Path(cfg.paths.results)
    write_json(
        results / "metrics" / f"{cfg.study.name}.json",
        {group["label"]: group["test_loss"]["mean"] for group in result["groups"] if group["test_loss"]["mean"]},
    )
    write_atomically(results / "curves" / f"{cfg.study.name}.csv", _curves(runs))
    write_json(results / "studies" / f"{cfg.study.name}.json", result)
    _print_table(result)
    return result


def _evaluate_run(cfg: DictConfig, names: tuple[str, str], run) -> dict:
    import torch

    from pipeline.datasets.data import load_data
    from pipeline.datasets.space import Symbols
    from pipeline.files.whole import read_lines
    from pipeline.models.build import size
    from pipeline.models.load import load_network

    torch.set_num_threads(cfg.trainer.threads)
    data = load_data(cfg.data)
    text = isinstance(data.space, Symbols)
    facts, last = run.facts, read_lines(run.metrics)[-1:]
    found = {
        "name": facts["name"],
        "directory": str(run.path),
        "hash": facts["hash"],
        "seed": facts["seed"],
        "label": names[0],
        "data": names[1],
        "model": cfg.model.name,
        "optimizer": cfg.optimizer.name,
        "size": size(cfg.model),
        "parameters": facts["parameters"],
        "vocabulary": facts["vocabulary"],
        "symbols": cfg.data.get("symbols", "characters" if text else "values"),
        "split": cfg.data.split,
        "unit": data.space.unit if text else "RMSE",
        **dict.fromkeys(NUMBERS),
        "completions": [],
    }
    for record in last:
        found |= {
            "steps": record["step"],
            "symbols_read": record["symbols"],
            "seconds": record["seconds"],
            "symbols_per_second": record["symbols"] / record["seconds"],
        }
    if facts["status"] == "diverged":
        return found
    judge = _judge_text if text else _judge_series
    return found | judge(load_network(run, data), data, facts["validation"], cfg)


def _judge_text(network, data, validation: float, cfg: DictConfig) -> dict:
    from pipeline.datasets.problems import Recalled
    from pipeline.probes.likelihood import held_out_loss
    from pipeline.probes.memory import carried_bits
    from pipeline.probes.text import write

    part = "validation" if data.test is None else "test"
    nats, scored = held_out_loss(network, data, part)
    completions = [
        {
            "prompt": prompt,
            "temperature": cfg.evaluation.temperature,
            "text": write(
                network, data.vocabulary, prompt, cfg.evaluation.temperature, cfg.evaluation.length, cfg.seed
            ),
        }
        for prompt in cfg.data.get("prompts", ())
    ]
    return {
        "validation_loss": validation,
        "test_loss": nats,
        "test_bits": nats / math.log(2),
        "test_symbols": scored,
        "held_out": part,
        "unknown_symbols": len(getattr(data, part)) - 1 - scored,
        "completions": completions,
        **(
            {"carried_bits": carried_bits(network, data), "message_bits": data.bits}
            if isinstance(data, Recalled)
            else {}
        ),
    }


def _judge_series(network, data, validation: float, cfg: DictConfig) -> dict:
    from pipeline.probes.forecast import forecast
    from pipeline.probes.likelihood import held_out_loss

    error, scored = held_out_loss(network, data, "test")
    return {
        "validation_loss": math.sqrt(validation),
        "test_loss": math.sqrt(error),
        "test_symbols": scored,
        "held_out": "test",
        "unknown_symbols": 0,
        "forecast": forecast(network, data, cfg.evaluation.length),
    }


def _groups(runs: list[dict]) -> list[dict]:
    groups = []
    for digest in dict.fromkeys(run["hash"] for run in runs):
        seeds = [run for run in runs if run["hash"] == digest]
        group = {
            key: seeds[0][key]
            for key in ("hash", "label", "data", "model", "optimizer", "size", "parameters", "split", "unit")
        }
        group["seeds"] = [run["seed"] for run in seeds]
        for key in ("test_loss", "test_bits", "validation_loss", "symbols_per_second", "carried_bits"):
            values = [run[key] for run in seeds if run[key] is not None]
            group[key] = {
                "mean": statistics.fmean(values) if values else None,
                "std": statistics.stdev(values) if len(values) > 1 else None,
            }
        group["diverged"] = sum(run["test_loss"] is None for run in seeds)
        groups.append(group)
    return groups


def check(claim: Mapping, groups: list[dict]) -> dict:
    """The claim that `model` has a lower test loss than `than` (relation better) or no higher one (no_worse),
    and what these runs say.

    difference  loss of `than` minus loss of `model`; error  its standard error from the spread over seeds
    verdict     better: "holds" from 2 errors above 0, "contradicted" from 2 below, else "undecided"; no_worse:
                "contradicted" from 2 below, else "holds"; "not tried" where a model is missing or has one seed. A model
                that diverged has the higher loss.
    """
    by_model = {group["model"]: group for group in groups}
    found = [by_model.get(claim[key]) for key in ("model", "than")]
    diverged = [group is not None and group["test_loss"]["mean"] is None for group in found]
    if any(diverged) or any(group is None or group["test_loss"]["std"] is None for group in found):
        verdict = (
            {(False, True): "holds", (True, False): "contradicted"}.get(tuple(diverged), "not tried")
            if all(found)
            else "not tried"
        )
        return {**claim, "difference": None, "error": None, "verdict": verdict}
    found = [(group["test_loss"], len(group["seeds"])) for group in found]
    difference = found[1][0]["mean"] - found[0][0]["mean"]
    error = math.sqrt(sum(loss["std"] ** 2 / seeds for loss, seeds in found))
    if difference < -2 * error:
        verdict = "contradicted"
    else:
        verdict = "holds" if claim["relation"] == "no_worse" or difference > 2 * error else "undecided"
    return {**claim, "difference": difference, "error": error, "verdict": verdict}


def _curves(runs: list[dict]) -> str:
    """Validation losses of every run: symbols, then a column a run."""
    from pipeline.files.whole import read_lines
    from pipeline.runs.directory import RunDirectory

    columns = {
        f"{run['label']} s{run['seed']}": {
            record["symbols"]: record["validation"]
            for record in read_lines(RunDirectory(run["directory"]).metrics)
            if "validation" in record
        }
        for run in runs
    }
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["run", "symbols", "loss"])
    for name, column in columns.items():
        for symbols, loss in column.items():
            table.writerow([name, symbols, loss])
    return text.getvalue()


def _print_table(result: dict) -> None:
    print(f"\n{result['study']} ({result['scale']}): {result['question']}")
    width = max(len(group["label"]) for group in result["groups"])
    print(f"{'':{width}} {'parameters':>11} {'test loss':>20} {'bits/char':>9} {'unit':>10} {'k/s':>8} {'seeds':>6}")
    for group in sorted(result["groups"], key=lambda group: (group["data"], group["test_loss"]["mean"] or math.inf)):
        loss, bits = group["test_loss"], group["test_bits"]["mean"]
        if loss["mean"] is None:
            print(f"{group['label']:{width}} {group['parameters']:>11,} {'diverged':>20}")
            continue
        spread = f" ± {loss['std']:.2g}" if loss["std"] is not None else ""
        print(
            f"{group['label']:{width}} {group['parameters']:>11,} {loss['mean']:>10.4g}{spread:>10} "
            f"{'' if bits is None else f'{bits:.4f}':>9} {group['unit']:>10} "
            f"{group['symbols_per_second']['mean'] / 1000:>8.1f} {len(group['seeds']):>6}"
        )
    for claim in result["claims"]:
        measured = "" if claim["difference"] is None else f" ({claim['difference']:+.4f} ± {claim['error']:.4f})"
        print(f"{claim['source']}: {claim['claim']}: {claim['verdict']}{measured}")


def _progress(items: list, name: str):
    import tqdm

    return tqdm.tqdm(items, desc=name, unit="run", disable=None)


main = verb(evaluate)

if __name__ == "__main__":
    main()
