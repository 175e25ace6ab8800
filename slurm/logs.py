"""Prints the log of a run's job in SLURM: of its last job, from the first attempt on.

run is a run's name, or a part of it; of the run submitted last without one. rank=1 prints that of another process;
--follow goes on as it grows, until Ctrl-C.

Examples:
  lab logs
  lab logs run=gru-1x128
  lab logs run=lstm rank=1
  lab logs --follow
"""

import os
import sys
from pathlib import Path

from pipeline.command.arguments import verb_of_arguments
from pipeline.command.refusal import Refusal

DEFAULTS = {"run": "", "rank": 0, "runs": "runs"}


def log_of(run: str, rank: int, runs: Path) -> Path:
    """The log of the last job whose run has `run` in its path. Raises Refusal where there is none."""
    from slurm.queue import submitted

    jobs = [job for folder in (runs / ".slurm").glob("*") for job in submitted(folder) if run in str(job.run)]
    if not jobs:
        raise Refusal(
            f"run={run}: no job in {runs}/.slurm is of a run that is called so: lab status names them; what sbatch "
            "slurm/train.sbatch started logs to slurm-JOB.out"
        )
    last = max(jobs, key=lambda job: tuple(map(int, job.id.split("_"))))
    log = last.log_of(rank)
    if not log.exists():
        raise Refusal(
            f"rank={rank}: {log} is not there: job {last.id} has not begun (lab status says so) or has no such rank"
        )
    return log


def logs(run: str, rank: int, runs: str, follow: bool) -> None:
    """Prints the log that log_of finds, and what is added to it if it shall `follow`."""
    log = log_of(run, rank, Path(runs))
    if follow:
        os.execvp("tail", ["tail", "--lines=+1", "--follow=name", str(log)])
    with log.open(errors="replace") as lines:
        sys.stdout.writelines(lines)


main = verb_of_arguments(logs, __doc__, DEFAULTS, ("--follow",))

if __name__ == "__main__":
    main()
