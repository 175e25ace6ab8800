"""What evaluation has found, written back to the records of the runs in MLflow."""

from collections.abc import Sequence

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.terminal import meanwhile
from pipeline.exhibits.numbers import known
from pipeline.runs.directory import RunDirectory
from pipeline.runs.tracking import Tracking, kept, reaching


def write_back(cfg: DictConfig, runs: Sequence[dict]) -> None:
    """Writes the measures of the runs, as pipeline.evaluate gives them, to their records in the MLflow that
    tracking.uri names, and calls these as the study's tables call the runs. Records that have waited for it are sent
    first; runs without one are left out; where MLflow cannot be reached, a line says so."""
    if cfg.tracking.uri is None:
        return
    found = [(run, RunDirectory(run["directory"])) for run in runs]
    try:
        for _, directory in found:
            if directory.facts.get("mlflow_waits"):
                _send(cfg, directory)
        there = [(run, directory) for run, directory in found if kept(cfg.tracking, directory.facts)]
        if not there:
            return
        with meanwhile("writing to MLflow ..."), reaching(cfg.tracking):
            tracking = Tracking.connect(cfg)
            for run, directory in there:
                tracking.measured(directory, f"{run['label']} s{run['seed']}", numbers(run))
    except Refusal as reason:
        print(f"MLflow lacks what was measured: {reason}", flush=True)


def _send(cfg: DictConfig, run: RunDirectory) -> None:
    from pipeline.datasets.data import load_data
    from pipeline.runs.session import send_record

    own = run.config()
    own.tracking = cfg.tracking
    send_record(own, load_data(own.data, cfg.paths.local), run)


def numbers(run: dict) -> dict[str, float]:
    """Losses of the test part, in all their units, and all measures, by their names in MLflow."""
    units = {"loss": 1.0} | run["units"]["also"]
    judged = [found for found in run["probes"].values() if known(found.get("loss")) and found.get("part") == "test"]
    losses = {f"{unit}/test": found["loss"] * each for found in judged for unit, each in units.items()}
    return losses | {f"measured/{name}": value for name, value in run["measured"].items() if known(value)}
