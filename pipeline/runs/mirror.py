"""A run's record in an MLflow that may come and go."""

import time
from collections.abc import Callable

from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.runs.directory import RunDirectory
from pipeline.runs.server import location, require_answer
from pipeline.runs.tracking import Tracking, reaching, reason

PATIENCE = 60.0  # seconds for which the end of a job waits for a server: one that has crashed is back by then
PAUSE = 2.0  # seconds between two tries
KEPT = "the training is done and kept; the same command sends its record when MLflow answers"


class Mirror:
    """Sends what happens to the run's record. While MLflow does not answer the training goes on without; at the next
    occasion the server is sought again, wherever it is then, and gets all that it lacks.

    unattended  nobody is there to start a server: where none answers the run begins and ends without, too
    say         tells people a line
    """

    def __init__(self, cfg: DictConfig, run: RunDirectory, card: dict, unattended: bool):
        self.cfg, self.run, self.card, self.unattended = cfg, run, card, unattended
        self.say: Callable[[str], None] = lambda line: print(line, flush=True)
        self.tracking: Tracking | None = None
        self.away = False

    def connect(self) -> None:
        """Finds MLflow. Raises Refusal where it cannot take the run's record, whoever waits for it."""
        with reaching(self.cfg.tracking):
            try:
                self.tracking = Tracking.connect(self.cfg)
            except Refusal:
                raise
            except Exception as error:
                if not self.unattended:
                    raise
                self._lose(error)

    def begin(self) -> None:
        """Finds the run's record or makes it. Raises Refusal where that cannot be."""
        if self.unattended:
            self.send(lambda record: None)
        else:
            with reaching(self.cfg.tracking):
                self._record()

    def send(self, work: Callable[[Tracking], None]) -> bool:
        """Does `work` with the record; False where that cannot be, which is said once."""
        try:
            record = self._record()
            work(record)
        except Exception as error:
            self._lose(error)
            return False
        if self.away:
            self.say(f"{self.run.path.name}: MLflow answers again, at {record.location}: its record follows")
        self.away = False
        return True

    def finish(self, work: Callable[[Tracking], None]) -> bool:
        """Does the last `work` with the record of a run that has finished; unattended, False where that could not be
        for PATIENCE seconds. Raises Refusal else."""
        if not self.unattended:
            with reaching(self.cfg.tracking, KEPT):
                work(self._record())
            return True
        end = time.monotonic() + PATIENCE
        while not (sent := self.send(work)) and time.monotonic() < end:
            time.sleep(PAUSE)
        return sent

    def _record(self) -> Tracking:
        """The record where the server is now. Raises what MLflow raises."""
        if self.tracking is not None:
            where = location(self.cfg.tracking.uri)
            require_answer(where)
            if where != self.tracking.location:
                self.tracking = None
        if self.tracking is None:
            self.tracking = Tracking.connect(self.cfg)
        if self.tracking.run_id is None:
            self.tracking.take(self.cfg, self.run, self.card)
        return self.tracking

    def _lose(self, error: Exception) -> None:
        self.tracking = None
        if not self.away:
            self.say(f"{self.run.path.name}: MLflow cannot be reached, its record waits ({reason(error)})")
        self.away = True
