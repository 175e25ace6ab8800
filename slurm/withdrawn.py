"""Runs that a person has ended while their job goes on with the others of its group.

A file beside the job's logs, <job>.withdrawn, has their places in the group, a line each. It outlives the job's way
through the queue: what is put back does not train them either.
"""

import os
from collections.abc import Iterable
from pathlib import Path


def of(folder: Path, job: str) -> set[int]:
    """The places of the runs of the job that are withdrawn."""
    try:
        # Opening makes a network file system ask its server.
        lines = _file(folder, job).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return set()
    return {int(line) for line in lines if line.isdecimal()}


def add(folder: Path, job: str, places: Iterable[int]) -> None:
    """Withdraws the runs at these places of the job."""
    with _file(folder, job).open("a", encoding="utf-8") as file:
        file.write("".join(f"{place}\n" for place in places))


def of_this_job() -> set[int]:
    """`of` the job that this process is a part of."""
    folder, job = Path(os.environ["JOB_LOGS"]), os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    add(folder, job, ())  # so that it is there to be opened
    return of(folder, job)


def _file(folder: Path, job: str) -> Path:
    return folder / f"{job}.withdrawn"
