"""What jobs used of what they had asked for, where SLURM accounts for it (sacct)."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache

FIELDS = ("JobID", "ElapsedRaw", "AllocCPUS", "TotalCPU", "MaxRSS", "ReqMem")
AT_ONCE = 500  # jobs in one question
PATIENCE = 60  # seconds for its answer
MB = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


def used(ids: Sequence[str]) -> list[str]:
    """A line on the cores and the memory of ended jobs together; none where SLURM keeps no account of them, or does not
    answer."""
    if not ids or shutil.which("sacct") is None:
        return []
    given = busy = memory = wanted = 0.0
    for id, elapsed, cores, total, most, asked in _accounts(tuple(ids)):
        if "." in id:  # a step of a job, which alone has its memory
            memory = max(memory, _megabytes(most))
        else:
            if seconds(total):  # else nobody has measured it (JobAcctGatherType=jobacct_gather/none)
                given += int(elapsed) * int(cores)
                busy += seconds(total)
            wanted = max(wanted, _megabytes(asked))
    if not given:
        return []
    share = f"ended jobs kept their cores busy for {busy / given:.0%} of their time"
    return [
        share + f", the largest process took {memory / 1024:.1f} of {wanted / 1024:.1f} GB" * bool(memory and wanted)
    ]


@lru_cache(maxsize=1)  # lab status --watch asks every few seconds
def _accounts(ids: tuple[str, ...]) -> list[list[str]]:
    """What sacct has of these jobs, in the order of FIELDS; nothing where it does not answer."""
    rows = []
    for at in range(0, len(ids), AT_ONCE):
        words = ["sacct", "--parsable2", "--noheader", f"--format={','.join(FIELDS)}"]
        try:
            done = subprocess.run(
                [*words, f"--jobs={','.join(ids[at : at + AT_ONCE])}"], capture_output=True, text=True, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            return []
        rows += [line.split("|") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return rows


def seconds(time: str) -> float:
    """Of what sacct calls a time: "1-02:03:04", "02:03:04", "03:04.567"."""
    days, _, rest = time.rpartition("-")
    total = 0.0
    for part in rest.split(":"):
        total = 60 * total + float(part or 0)
    return 86400 * int(days or 0) + total


def _megabytes(text: str) -> float:
    found = re.match(r"([\d.]+)([KMGT]?)", text)
    return float(found[1]) * MB.get(found[2], 1 / 1024**2) if found else 0.0
