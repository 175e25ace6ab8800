"""Lengths of time as people write them in SLURM."""

import re
from math import ceil


def minutes(time: int | str) -> int:
    """Of a whole number of minutes, "minutes:seconds", "hours:minutes:seconds", "days-hours", "days-hours:minutes" or
    "days-hours:minutes:seconds", rounded up; as sbatch --time reads them."""
    if isinstance(time, int):
        return time
    if re.fullmatch(r"\d+", time):
        return int(time)
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash or len(parts) == 3:
        hours, minute, second = [*parts, 0, 0][:3]
    else:
        hours, (minute, second) = 0, parts
    return ceil(((int(days or 0) * 24 + hours) * 3600 + minute * 60 + second) / 60)
