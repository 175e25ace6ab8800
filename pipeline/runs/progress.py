"""What a person sees while a run trains."""

import errno
import math
import sys
import time

from pipeline.datasets.space import Units

PAUSE = 1.0  # seconds at least between two lines of one run


class Progress:
    """A bar on a terminal, elsewhere (logs, several runs side by side) a line a validation,
    the last and at most one a second of the others.

    kind   "bar", "lines" or "auto": a bar where the output is a terminal and this run has it for itself
    seconds  the run's budget of training time, if it has one;  units  of the losses
    alone  whether no other run writes to the same terminal
    """

    def __init__(self, kind: str, name: str, steps: int, seconds: float | None, units: Units, alone: bool):
        self.name, self.steps, self.seconds, self.units = name, steps, seconds, units
        self.bar = None
        if kind == "bar" or (kind == "auto" and alone and sys.stderr.isatty()):
            import tqdm

            self.bar = tqdm.tqdm(total=steps, unit="step", mininterval=0.2, dynamic_ncols=True)
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
        loss = (
            "  ".join(f"{key} {record[key]:{units.digits}}" for key in ("train", "validation") if key in record)
            + f" {units.loss}"
            + (units.perplexity(record["validation"]) if "validation" in record else "")
        )
        rate = f"{speed / 1000:.1f} k{units.element}/s"
        if self.bar is not None:
            self.bar.set_postfix_str(f"{loss}  {rate}", refresh=False)
        elif "validation" in record and (record["step"] == self.steps or time.monotonic() >= self.said + PAUSE):
            self.said = time.monotonic()
            began, first = self.since
            left = (time.monotonic() - began) / max(1, record["step"] - first) * (self.steps - record["step"])
            left = min(left, (self.seconds or math.inf) - record["seconds"])
            self.say(f"{self.name}  step {record['step']:,}/{self.steps:,}  {loss}  {rate}  {left:.0f} s left")

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
