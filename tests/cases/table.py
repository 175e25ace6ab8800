"""The table bad_input.tsv, and what makes a case as wanted."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.cases.checkout import LIMIT, Ended

TABLE = Path(__file__).with_name("bad_input.tsv")
WANTED = ("refuse", "ok", "soft")
FOR_ROOT = ("mount", "setpriv")


@dataclass(frozen=True)
class Case:
    """A line of the table."""

    id: str
    wanted: str
    command: str

    @property
    def skipped(self) -> str | None:
        """Why it cannot be tried here."""
        needed = [word for word in FOR_ROOT if word in self.command.split()]
        return f"{needed[0]} needs root" if needed and os.geteuid() else None

    def wrong(self, ended: Ended) -> str | None:
        """In a line what came out other than wanted."""
        lines = ended.err.splitlines()
        if ended.code is None:
            return f"not ended after {LIMIT:.0f} s"
        if "Traceback (most recent call last)" in ended.err + ended.out:
            return f"a traceback: {lines[-1] if lines else ended.out.splitlines()[-1]}"
        refused = ended.code == 1 and len(lines) == 1 and lines[0].startswith("error: ")
        soft = ended.code == 0 or ended.code == 1 and all(line.startswith(("error: ", "warning: ")) for line in lines)
        if {"refuse": refused, "ok": ended.code == 0, "soft": soft}[self.wanted]:
            return None
        return f"exit {ended.code}: {' / '.join(lines) or ended.out.strip() or 'nothing said'}"


def read_table() -> list[Case]:
    """ValueError: a line is no case."""
    cases: dict[str, Case] = {}
    for number, line in enumerate(TABLE.read_text().splitlines(), start=1):
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 3 or fields[1] not in WANTED or fields[0] in cases:
            raise ValueError(f"{TABLE.name}, line {number}: not an id of its own, {' | '.join(WANTED)}, and a command")
        cases[fields[0]] = Case(*fields)
    return list(cases.values())
