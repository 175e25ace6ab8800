"""Says where runs are: finished, running, stopped, waiting in SLURM's queue where there is one, or missing.

Of a study with the options that it is trained with; without one, of the runs by themselves. --watch says it again every
few seconds.

Examples:
  lab status
  lab status --watch
  lab status study=zoo scale=smoke
  lab status study=zoo model=gru
  lab status -m model=rnn,gru seed=0,1
"""

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pipeline.command.terminal import meanwhile
from pipeline.command.verb import SWEPT, verb

if TYPE_CHECKING:
    from slurm.queue import Job, QueueEntry

EVERY = 5  # seconds
WATCHING: list[bool] = []  # set by --watch
STATES = {"PENDING": "waiting", "RUNNING": "running", "COMPLETING": "ending", "CONFIGURING": "starting"}


def status(cfg: DictConfig) -> None:
    """Prints a line a run, those of the study first and then what else was submitted, why failed ones failed, and what
    ended ones used of what they had asked for, where SLURM accounts for it."""
    from pipeline.command.controller import Unanswered

    composed = runs_of_study(cfg)
    while True:
        try:
            text = table(cfg, composed or begun(cfg))
        except Unanswered as reason:
            if not WATCHING:
                raise
            text = str(reason)
        if not WATCHING:
            print(text)
            return
        print(f"\x1b[H\x1b[2J{time.strftime('%H:%M:%S')}\n{text}", flush=True)
        time.sleep(EVERY)


def table(cfg: DictConfig, runs: list[Path]) -> str:
    """What there is to say of the runs, and of what else was submitted."""
    from pipeline.runs.directory import RunDirectory
    from slurm import queue
    from slurm.accounting import used

    submitted = queue.submitted(queue.folder(cfg))
    jobs = {job.run: job for job in submitted}
    runs = list(dict.fromkeys([*(run.absolute() for run in runs), *([] if SWEPT else jobs)]))
    others = [run for run in runs if run not in jobs and RunDirectory(run).facts.get("job") is not None]
    entries = queue.queued() if jobs or others and shutil.which("squeue") else {}
    for run in queue.by_hand(runs, submitted, entries):
        if run in jobs and not jobs[run].trains(entries.get(jobs[run].id)):
            del jobs[run]
    rows = [row(run, jobs.get(run), entries) for run in runs]
    if not rows:
        return f"there are no runs in {cfg.paths.runs}/{cfg.study.name}: train one, e.g. lab train model=lstm"
    width, words = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{name:{width}}  {state:{max(words, 9)}}  {what}" for name, state, what, _ in rows]
    counts = {state: sum(row[1] == state for row in rows) for state in dict.fromkeys(row[1] for row in rows)}
    lines.append(", ".join(f"{count} {state}" for state, count in counts.items()))
    lines += used([job.id for *_, job in rows if job is not None and job.id not in entries])
    for name, state, _, job in rows:
        if state == "failed" and job is not None:
            lines += ["", f"{name}, {job.log}:", *(f"    {line}" for line in job.why())]
    return "\n".join(lines)


def runs_of_study(cfg: DictConfig) -> list[Path]:
    """The directories of the study's runs, or of those of a sweep by -m; none for runs by themselves."""
    if "question" not in cfg.study and not SWEPT:
        return []
    from pipeline.runs.settling import directory_of
    from pipeline.runs.study import runs_of

    with meanwhile("loading ..."):
        return [directory_of(run) for run in runs_of(cfg)]


def begun(cfg: DictConfig) -> list[Path]:
    """The directories of runs that have begun, the latest last."""
    facts = (Path(cfg.paths.runs) / cfg.study.name).glob("[!.]*/run.json")
    return [file.parent for file in sorted(facts, key=lambda file: file.stat().st_mtime)]


def row(run: Path, job: "Job | None", entries: "dict[str, QueueEntry]") -> tuple[str, str, str, "Job | None"]:
    """A run's name, its state in a word, what there is to say of it, and its last job."""
    from pipeline.runs.directory import RunDirectory

    directory = RunDirectory(run)
    facts = directory.facts
    records = directory.records()
    known = facts.get("status")
    reached = f"step {records[-1]['step']:,}" if records else "no step yet"
    id = job.id if job else facts.get("job")  # the latter by sbatch slurm/train.sbatch, or within salloc
    entry = entries.get(id)
    waits = "; its record waits for MLflow: the same command sends it" * bool(facts.get("mlflow_waits"))
    if entry is not None and (job.trains(entry) if job else known in ("running", "stopped")):
        state = STATES.get(entry.state, entry.state.lower())
        if entry.state == "PENDING":
            start = "" if entry.start == "N/A" else f", expected to start {entry.start.replace('T', ' ')}"
            what = f"job {id}: {entry.reason}{start}" + (f", {reached} so far" if records else "")
        else:
            what = f"job {id} on {entry.nodes} for {entry.time}, {reached}"
    elif known == "finished":
        state, what = known, f"validation {facts['validation']:{facts['units']['digits']}}{waits}"
    elif known == "diverged":
        state, what = known, f"{facts['reason']}{waits}"
    elif known == "stopped":
        state, what = known, f"saved at {reached}; the same command goes on"
    elif known == "running" and directory.locked and facts.get("job") is None:
        state, what = "running", f"process {facts['process']}, outside SLURM, {reached}"
    elif known == "running" and directory.locked and job is None and shutil.which("squeue") is None:
        state, what = "running", f"job {id}, unless that has ended: there is no SLURM here to say, {reached}"
    elif job is not None and job.cancelled:
        state, what = "cancelled", f"job {job.id}, {reached}; the same command goes on"
    elif known is not None or job is not None and job.log.exists():
        state, what = "failed", f"job {job.id}, {reached}" if job else f"killed at {reached}; the same command goes on"
    elif job is not None:
        state, what = "cancelled", f"job {job.id}, before it began"
    else:
        state, what = "missing", "not trained yet"
    return run.name, state, what, job


def main() -> None:
    if "--watch" in sys.argv:
        sys.argv.remove("--watch")
        WATCHING.append(True)
    verb(status, ("study", "scale", "model", "data", "optimizer", "seed", "paths.runs"), whole=True)()


if __name__ == "__main__":
    main()
