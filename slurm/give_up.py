"""Tells MLflow that a run is not gone on with, for slurm/job.sh."""

import sys
from pathlib import Path

from pipeline.command.refusal import Refusal


def give_up(run: Path) -> None:
    """Marks the run's record KILLED. Raises Refusal where MLflow does not take that."""
    from pipeline.runs.directory import RunDirectory
    from pipeline.runs.tracking import Tracking, reaching

    directory = RunDirectory(run)
    cfg, record = directory.config(), directory.facts["mlflow_run_id"]
    if cfg.tracking.uri is not None and record is not None:
        with reaching(cfg.tracking):
            Tracking.connect(cfg).client.update_run(record, status="KILLED")


if __name__ == "__main__":
    try:
        give_up(Path(sys.argv[1]))
    except Refusal as refusal:
        sys.exit(f"error: {refusal}")
