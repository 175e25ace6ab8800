"""Says where runs are: finished, running, stopped, waiting in SLURM's queue where there is one, or missing.

Of a study with the options that it is trained with; without one, of the runs by themselves.

Examples:
  lab status
  lab status study=zoo
  lab status study=zoo scale=smoke
  lab status study=zoo model=gru
"""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pipeline.command.terminal import meanwhile
from pipeline.command.verb import verb

if TYPE_CHECKING:
    from slurm.queue import Job


def status(cfg: DictConfig) -> None:
    """Prints a line a run, those of the study first and then what else was submitted,
    and the ends of the failed ones' logs."""
    from pipeline.command.refusal import Refusal
    from slurm import queue

    jobs = {job.run: job for job in queue.submitted(queue.folder(cfg))}
    places = queue.queued() if jobs else {}
    if places is None:
        raise Refusal("SLURM does not answer (squeue): ask again in a while")
    runs = runs_of_study(cfg) or there(cfg)
    rows = [row(run, jobs.get(run), places) for run in dict.fromkeys([*runs, *jobs])]
    if not rows:
        print(f"there are no runs in {cfg.paths.runs}/{cfg.study.name}: train one, e.g. lab train model=lstm")
        return
    width = max(len(name) for name, *_ in rows)
    for name, state, what, _ in rows:
        print(f"{name:{width}}  {state:9}  {what}")
    counts = {state: sum(row[1] == state for row in rows) for state in dict.fromkeys(row[1] for row in rows)}
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    for name, state, _, job in rows:
        if state == "failed" and job is not None:
            print(f"\n{name}, the end of {job.log}:")
            print("\n".join(f"    {line}" for line in job.tail()))


def runs_of_study(cfg: DictConfig) -> list[Path]:
    """The directories of the study's runs; none for runs by themselves."""
    from pipeline.runs.settling import directory_of
    from pipeline.runs.study import runs_of

    if "question" not in cfg.study:
        return []
    with meanwhile("loading ..."):
        return [directory_of(run) for run in runs_of(cfg)]


def there(cfg: DictConfig) -> list[Path]:
    """The directories of runs that have begun, the latest last."""
    facts = (Path(cfg.paths.runs) / cfg.study.name).glob("[!.]*/run.json")
    return [file.parent for file in sorted(facts, key=lambda file: file.stat().st_mtime)]


def row(run: Path, job: "Job | None", places: dict) -> tuple[str, str, str, "Job | None"]:
    """A run's name, its state in a word, what there is to say of it, and its last job."""
    from pipeline.runs.directory import RunDirectory

    directory = RunDirectory(run)
    facts = directory.facts
    records = directory.records()
    known = facts.get("status")
    reached = f"step {records[-1]['step']:,}" if records else "no step yet"
    place = places.get(job.id) if job else None
    if place is not None:
        since = f", {reached} so far" if records else ""
        state, what = (
            ("waiting", f"job {job.id}: {place.reason}{since}")
            if place.state == "PENDING"
            else ("running", f"job {job.id} on {place.nodes} for {place.time}, {reached}")
        )
    elif known == "finished":
        state, what = known, f"validation {facts['validation']:{facts['units']['digits']}}"
    elif known == "diverged":
        state, what = known, facts["reason"]
    elif known == "stopped":
        state, what = known, f"saved at {reached}; the same command goes on"
    elif known == "running" and directory.locked and facts.get("job") is None:
        state, what = "running", f"process {facts['process']}, outside SLURM, {reached}"
    elif known is not None or job is not None and job.log.exists():
        state, what = "failed", f"job {job.id}, {reached}" if job else f"killed at {reached}; the same command goes on"
    elif job is not None:
        state, what = "cancelled", f"job {job.id}, before it began"
    else:
        state, what = "missing", "not trained yet"
    return run.name, state, what, job


main = verb(status, ("study", "scale", "model", "data", "optimizer", "seed", "paths.runs"))

if __name__ == "__main__":
    main()
