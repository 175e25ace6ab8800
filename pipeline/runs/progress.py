"""What a person sees while a run trains."""

import errno
import math
import sys
import textwrap
import time

from pipeline.datasets.space import Units

PAUSE = 1.0  # seconds at least between two lines of one run
COLUMNS = 100  # of a terminal, that lines are made for
SHOWN = 12  # lines of a sample at most
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Progress:
    """A bar on a terminal, below what the network writes as it learns; elsewhere (logs, several runs side by side) a
    line a validation, the last and at most one a second of the others.

    kind   "bar", "lines" or "auto": a bar where the output is a terminal and this run has it for itself
    seconds  the run's budget of training time, if it has one;  units  of the losses
    alone  whether no other run writes to the same terminal
    """

    def __init__(self, kind: str, name: str, steps: int, seconds: float | None, units: Units, alone: bool):
        self.name, self.steps, self.seconds, self.units = name, steps, seconds, units
        self.alone, self.validation, self.bar = alone, "", None
        if kind == "bar" or (kind == "auto" and alone and sys.stderr.isatty()):
            import tqdm

            self.bar = tqdm.tqdm(total=steps, mininterval=0.2, dynamic_ncols=True, bar_format=BAR)
        self.since = None
        self.said = -math.inf

    def start(self, step: int) -> None:
        self.since = (time.monotonic(), step)
        if self.bar is not None:
            self.bar.n = self.bar.last_print_n = self.bar.initial = step
            self.bar.refresh()

    def step(self, step: int) -> None:
        """So many steps are done."""
        if self.bar is not None:
            self.bar.update(step - self.bar.n)

    def show(self, record: dict, speed: float) -> None:
        """A fresh record of the run; `speed` in targets per second of training."""
        units = self.units
        train = f"train {record['train']:{units.digits}} "
        if "validation" in record:
            self.validation = f" validation {record['validation']:{units.digits}} "
        rate = f"  {speed / 1000:.1f} k{units.element}/s"
        if self.bar is not None:
            self.bar.set_postfix_str(f"{train}{self.validation}{units.loss}{rate}", refresh=False)
        elif "validation" in record and (record["step"] == self.steps or time.monotonic() >= self.said + PAUSE):
            self.said = time.monotonic()
            began, first = self.since
            left = (time.monotonic() - began) / max(1, record["step"] - first) * (self.steps - record["step"])
            left = min(left, (self.seconds or math.inf) - record["seconds"])
            step = f"{record['step']:,}/{self.steps:,}"
            loss = f"{self.validation}{units.loss}{units.perplexity(record['validation'])}"
            # Names are long: beside one there is room for no more.
            line = f"step {step}  {train}{loss}{rate}" if self.alone else f"{self.name}  {step} {loss}"
            self.say(f"{line}  {left:.0f} s left")

    def show_sample(self, sample: dict) -> None:
        """What the network has written, above the bar of a run that has the terminal for itself."""
        if self.bar is None or not self.alone:
            return
        text = "".join(one if one.isprintable() or one == "\n" else " " for one in sample["text"])
        lines = [part for line in text.strip("\n").split("\n") for part in _folded(line)]
        cut = ["..."] if len(lines) > SHOWN else []
        self.say(f"step {sample['step']:,}:\n" + textwrap.indent("\n".join(lines[:SHOWN] + cut), "    "))

    def say(self, line: str) -> None:
        try:
            if self.bar is not None:
                self.bar.write(line)
            else:
                print(line, flush=True)
        except OSError as error:
            # A terminal that was closed: a run that ignores SIGHUP goes on without it. A bar takes that by itself.
            if error.errno != errno.EIO:
                raise

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _folded(line: str) -> list[str]:
    """A line in parts that fit into COLUMNS, indented."""
    return textwrap.wrap(line, COLUMNS - 4, drop_whitespace=False, break_on_hyphens=False) or [""]
