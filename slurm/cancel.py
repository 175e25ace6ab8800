"""Ends the jobs of a study's runs in SLURM, or of some of them.

Running ones save first; the command that submitted them takes them up again.

Examples:
  lab cancel study=zoo
  lab cancel study=zoo model=gru
  lab cancel model=gru data=linux
"""

import subprocess

from omegaconf import DictConfig

from pipeline.command.verb import verb


def cancel(cfg: DictConfig) -> None:
    """Cancels what is in the queue of the composed study's runs; of a single run when the study is none."""
    from pipeline.command.refusal import Refusal
    from pipeline.runs.settling import directory_of
    from slurm import queue
    from slurm.status import runs_of_study

    asked = runs_of_study(cfg) or [directory_of(cfg)]
    places = queue.queued() or {}
    ids = [job.id for job in queue.submitted(queue.folder(cfg)) if job.run in asked and job.id in places]
    if ids:
        done = subprocess.run(["scancel", *ids], capture_output=True, text=True)
        if done.returncode:
            raise Refusal(f"scancel: {done.stderr.strip().splitlines()[-1]}")
    print(f"cancelled {len(ids)} jobs of {len(asked)} runs of {cfg.study.name}" + (f": {' '.join(ids)}" if ids else ""))


main = verb(cancel, ("study", "model", "data", "optimizer", "scale", "seed", "paths.runs"))

if __name__ == "__main__":
    main()
