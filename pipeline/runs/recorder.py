"""What happens at which training step: records, validation, samples, checkpoints, and the end."""

import math
import signal
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytorch_lightning as lightning
import torch

from pipeline.learning.gradient import GradientLearning
from pipeline.runs.directory import RunDirectory
from pipeline.runs.files import append_line
from pipeline.runs.progress import Progress
from pipeline.runs.tracking import Tracking
from pipeline.verb import Refusal


class Diverged(Refusal):
    """The loss is not finite, or far above that of knowing nothing."""


class Recorder(lightning.Callback):
    """After the step that is due: record, validate, sample, save, in this order, so that a checkpoint has all that came before it.

    settings   the `trainer` node as plain attributes
    validate   the network's loss on the held-out part, nats per symbol
    sample     a text from the network for this step
    Only the first rank writes. What it wrote after the last checkpoint is dropped and written again by a continuation.
    After SIGINT or SIGTERM it saves and ends the training; `signal` says which came. Raises Diverged.
    """

    def __init__(self, settings: SimpleNamespace, run: RunDirectory, tracking: Tracking | None, progress: Progress | None,
                 validate: Callable[[], float], sample: Callable[[int], str]):
        self.settings, self.run, self.tracking, self.progress = settings, run, tracking, progress
        self.validate, self.sample = validate, sample
        self.best, self.without_best = math.inf, 0
        self.seconds = 0.0          # spent on training steps alone
        self.signal: int | None = None

    def state_dict(self) -> dict:
        return {"best": self.best, "without_best": self.without_best, "seconds": self.seconds}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.without_best, self.seconds = state["best"], state["without_best"], state["seconds"]

    def on_train_start(self, trainer: lightning.Trainer, learning: GradientLearning) -> None:
        self.handlers = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        if trainer.is_global_zero:
            self.run.rewind(trainer.global_step)
            self.progress.start(trainer.global_step)
        self.began = time.monotonic()
        trainer.should_stop = self._late() or not self._patient()

    def _ask_to_stop(self, number: int, frame) -> None:
        if self.signal is not None:         # asked twice: at once, going back to the last checkpoint
            raise KeyboardInterrupt
        self.signal = number

    def on_train_batch_end(self, trainer: lightning.Trainer, learning: GradientLearning, outputs, batch, index) -> None:
        step, settings = trainer.global_step, self.settings
        stop, late = self._on_any_rank(trainer, self.signal is not None, self._late())
        last = step == settings.steps or late

        def due(every: int | None) -> bool:
            return last or bool(every) and step % every == 0

        if self.progress is not None:
            self.progress.step()
        if due(settings.record_every) or due(settings.validate_every) or due(settings.sample.every) or step in settings.sample.at:
            self._now()
            record = {"step": step, "symbols": step * settings.batch * settings.length, "seconds": round(self.seconds, 3),
                      "rate": trainer.optimizers[0].param_groups[0]["lr"], "train": learning.take_mean(),
                      "smoothed": learning.smoothed.item()}
            self._check(record, learning)
            if due(settings.validate_every):
                record["validation"] = trainer.strategy.broadcast(self.validate())
                self._compare(record, learning)
            if trainer.is_global_zero:
                append_line(self.run.metrics, record)
                if due(settings.sample.every) or step in settings.sample.at:
                    append_line(self.run.samples, {"step": step, "symbols": record["symbols"], "prompt": settings.sample.prompt,
                                                   "temperature": settings.sample.temperature, "text": self.sample(step)})
                self.progress.show(record, record["symbols"] / max(self.seconds, 1e-9))
            self.began = time.monotonic()
        if due(settings.checkpoint_every) or stop or not self._patient():
            self._now()
            trainer.save_checkpoint(self.run.last)
            if self.tracking is not None:
                self._push()
            self.began = time.monotonic()
        trainer.should_stop = stop or late or not self._patient()

    def _push(self) -> None:
        try:
            self.tracking.push(self.run)
        except Exception as error:          # a server that is away for a while must not cost the training
            self.progress.say(f"{self.run.path.name}: MLflow cannot be reached, its record waits ({str(error).splitlines()[0][:200]})")

    def _patient(self) -> bool:
        return self.settings.patience is None or self.without_best < self.settings.patience

    def _now(self) -> None:
        now = time.monotonic()
        self.seconds += now - self.began
        self.began = now

    def _late(self) -> bool:
        return self.settings.seconds is not None and self.seconds + time.monotonic() - self.began >= self.settings.seconds

    def _on_any_rank(self, trainer: lightning.Trainer, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is set on some rank, so that all ranks do the same."""
        if trainer.world_size == 1:
            return flags
        asked = torch.tensor(flags, dtype=torch.float32, device=trainer.strategy.root_device)
        return tuple((trainer.strategy.reduce(asked, reduce_op="sum") > 0).tolist())

    def _check(self, record: dict, learning: GradientLearning) -> None:
        nothing = math.log(learning.streams.vocabulary)
        if not record["train"] <= self.settings.explode * nothing:      # NaN is not either
            raise Diverged(f"{self.run.path.name}: the training loss is {record['train']:.3g} nats per symbol at step {record['step']:,} "
                           f"(knowing nothing costs {nothing:.2f}): try a tenth of the learning rate (optimizer.lr), "
                           f"or trainer.clip_norm=1")

    def _compare(self, record: dict, learning: GradientLearning) -> None:
        if record["validation"] < self.best:
            self.best, self.without_best = record["validation"], 0
            if learning.trainer.is_global_zero:
                weights = {"network": learning.network.state_dict(), "step": record["step"], "validation": record["validation"]}
                learning.trainer.strategy.checkpoint_io.save_checkpoint(weights, self.run.best)
        else:
            self.without_best += 1

    def teardown(self, trainer: lightning.Trainer, learning: GradientLearning, stage: str) -> None:
        for number, handler in getattr(self, "handlers", {}).items():
            signal.signal(number, handler)
        if self.progress is not None:
            self.progress.close()
