"""Where a run may end before its last step: a measure of validation that reaches a value."""

import math
from dataclasses import dataclass

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.setting import shown
from pipeline.datasets.data import Criterion, Data
from pipeline.datasets.space import Space

LOSS, RIGHT, SOLVED = "loss", "right", "solved"


@dataclass(frozen=True)
class Goal:
    """measure    "loss" in the unit of the answers, another of their units ("bits", "rmse"), "right": the share of the
               answers that are right, or "solved": the data's criterion of success is met; None: no goal
    value      a loss is to fall to it, >= 0; `right` to rise to it, in (0, 1]; `solved` has none
    criterion  of the data
    """

    answers: Space
    measure: str | None
    value: float | None
    criterion: Criterion | None = None

    @classmethod
    def of(cls, cfg: DictConfig, data: Data) -> "Goal":
        """trainer.stop_at. Raises Refusal where it names no measure of these data, or no value that it can have."""
        measure, value = cfg.trainer.stop_at.measure, cfg.trainer.stop_at.value
        if measure is None and value is None:
            return cls(data.answers, None, None)
        known = [LOSS, *dict.fromkeys(data.answers.measured(1.0)), *[RIGHT] * cls._tells_right(data.answers)]
        known += [SOLVED] * (data.criterion is not None)
        if measure not in known:
            why = "nothing says which answers are right in these data: " * (measure == RIGHT)
            why += "nothing says when these data are solved: " * (measure == SOLVED)
            which = f"take {', '.join(known)}, or leave stop_at out"
            raise Refusal(f"trainer.stop_at.measure={shown(measure)}: {why}{which}")
        if measure == SOLVED:
            if value is not None:
                raise Refusal(f"trainer.stop_at.value={value}: solved has the value that these data say: leave it out")
            return cls(data.answers, measure, None, data.criterion)
        given = f"trainer.stop_at.value={shown(value)}"
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if measure == RIGHT and not (number and 0 < value <= 1):
            raise Refusal(f"{given}: take a share above 0, up to 1, that right is to rise to")
        if not (number and value >= 0):
            raise Refusal(f"{given}: take a number from 0 that {measure} is to fall to")
        return cls(data.answers, measure, value)

    @staticmethod
    def _tells_right(answers: Space) -> bool:
        blank = answers.blank(1, 1)
        return answers.right(blank.new_zeros(1, 1, answers.width), blank) is not None

    def reached(self, loss: float, right: float | None) -> bool:
        """Whether a validation with this mean loss and share of right answers is good enough."""
        if self.measure is None:
            return False
        if self.measure == RIGHT:
            return right >= self.value
        if self.measure == SOLVED:
            return self.criterion.met(loss, right)
        return {LOSS: loss, **self.answers.measured(loss)}[self.measure] <= self.value

    def said(self, reached: dict | None) -> str:
        """The end of a finished run's last line."""
        if self.measure is None:
            return ""
        if reached is None:
            return "; not solved" if self.measure == SOLVED else f"; {self.measure} has not reached {self.value:g}"
        what = "solved" if self.measure == SOLVED else f"{self.measure} reached {self.value:g}"
        return f"; {what} at step {reached['step']:,}, {reached['targets']:,} targets"
