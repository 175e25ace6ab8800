"""What happens at which training step: records, validation, samples, checkpoints, and the end."""

import json
import math
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytorch_lightning as lightning
import torch
from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import Data
from pipeline.files.whole import append_line
from pipeline.learning.learning import Learning
from pipeline.probes.held_out import held_out
from pipeline.runs import scheduler
from pipeline.runs.directory import RunDirectory
from pipeline.runs.divergence import divergence
from pipeline.runs.goal import Goal
from pipeline.runs.mirror import Mirror
from pipeline.runs.progress import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
STRETCH = 0.1  # seconds of training at most between two looks at signals, the clock and the progress bar
KEPT = ("best", "without_best", "seconds", "reached")  # in checkpoints


class Diverged(Refusal):
    """The loss is not finite, or far above that of knowing nothing."""


class Recorder(lightning.Callback):
    """After the step that is due: record, validate, write a sample, save, in this order, so that a checkpoint has all
    that came before it.

    Only the first rank writes, and has `mirror` (None without MLflow) and `progress`. What it wrote after the last
    checkpoint is dropped and written again by a continuation. After one of SIGNALS on any rank it saves and ends the
    training; `signal` says which came. Raises Diverged.

    best     validation loss;  reached  where trainer.stop_at was reached: measure, value, step, targets
    seconds  spent on training steps alone
    """

    def __init__(
        self, cfg: DictConfig, run: RunDirectory, data: Data, mirror: Mirror | None, progress: Progress | None
    ):
        self.cfg, self.settings, self.seed = cfg, plain(cfg.trainer), cfg.seed
        self.goal = Goal.of(cfg, data)
        self.run, self.data, self.mirror, self.progress = run, data, mirror, progress
        self.best, self.without_best = math.inf, 0
        self.seconds = 0.0
        self.reached: dict | None = None
        # As they are before Lightning puts its own on top.
        self.handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self.terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
        self.asked = 0  # the signal that this rank received
        self.signal: int | None = None

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in KEPT}

    def load_state_dict(self, state: dict) -> None:
        for name in KEPT:
            setattr(self, name, state[name])

    def on_train_start(self, trainer: lightning.Trainer, learning: Learning) -> None:
        for number, handler in self.handlers.items():
            if handler != signal.SIG_IGN:  # nohup's SIGHUP, SIGINT of a background job: as they were
                signal.signal(number, self._ask_to_stop)
        if trainer.is_global_zero:
            self.run.rewind(learning.global_step)
            self.progress.start(learning.global_step)
        self.together = trainer.world_size > 1
        self.began = self.paused = time.monotonic()
        self.looked = learning.global_step
        self.next_look = self.looked + 1  # with several ranks, which agree on it
        learning.pause = self._pauses
        trainer.should_stop = learning.global_step >= self.settings.steps or self._late() or self._done()

    def _ask_to_stop(self, number: int, frame) -> None:
        if self.asked and number == signal.SIGINT:  # a second Ctrl-C: at once, going back to the last checkpoint
            raise KeyboardInterrupt
        self.asked = number
        if number == signal.SIGHUP:
            self._leave_terminal()

    def _leave_terminal(self) -> None:
        """The terminal is gone, and what is still said must not fail for that."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in self.terminals:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)

    def on_train_batch_end(self, trainer: lightning.Trainer, learning: Learning, outputs, batch, index) -> None:
        step, settings = learning.global_step, self.settings
        if settings.seconds is not None:
            learning.wait()  # so that no more than STRETCH is asked of the device when time is up
        self._look(trainer, step)
        stop = self.signal is not None
        last = step == settings.steps or self.late

        def due(every: int | None) -> bool:
            return last or bool(every) and step % every == 0

        if self.progress is not None:
            self.progress.step(step)
        if last or self._records(step):
            self._stop_clock(learning)
            train, smoothed = learning.take_losses()
            record = {
                "step": step,
                "targets": learning.asked,
                "seconds": round(self.seconds, 3),
                "rate": learning.rate,
                "train": train,
                "smoothed": smoothed,
            }
            self._check(record, learning)
            if due(settings.validate_every):
                record |= trainer.strategy.broadcast(self._validate(learning))
                self._compare(record, learning)
            if trainer.is_global_zero:
                append_line(self.run.metrics, record)
                if due(settings.sample.every) or step in settings.sample.at:
                    sample = self._sample(record, learning)
                    append_line(self.run.samples, sample)
                    self.progress.show_sample(sample)
                self.progress.show(record, record["targets"] / max(self.seconds, 1e-9))
            self.began = time.monotonic()
        if step in settings.weights_at and trainer.is_global_zero:
            self._stop_clock(learning)
            self._keep(self.run.weights(step), learning, step=step)
            self.began = time.monotonic()
        if due(settings.checkpoint_every) or stop or self._done():
            self._stop_clock(learning)
            trainer.save_checkpoint(self.run.last)
            if trainer.is_global_zero:
                scheduler.saved()
            if self.mirror is not None:
                self.mirror.send(lambda tracking: tracking.push(self.run))
            self.began = time.monotonic()
        trainer.should_stop = stop or last or self._done()
        self.paused = time.monotonic()

    def _records(self, step: int) -> bool:
        """Whether something is measured or written after a step, besides the last one."""
        wanted = self.settings
        every = (wanted.record_every, wanted.validate_every, wanted.sample.every)
        return any(each and step % each == 0 for each in every) or step in wanted.sample.at

    def _pauses(self, step: int) -> bool:
        """Whether Lightning's turn comes after a step: something is due, or was asked, or it is long since."""
        settings, every = self.settings, self.settings.checkpoint_every
        saves = bool(every) and step % every == 0
        if step == settings.steps or self._records(step) or saves or step in settings.weights_at:
            return True
        if self.together:
            return step >= self.next_look
        return self.asked != 0 or time.monotonic() >= self.paused + STRETCH or self._late()

    def _done(self) -> bool:
        """Whether the goal is reached, or there was no new best for too long."""
        patience = self.settings.patience
        return self.reached is not None or patience is not None and self.without_best >= patience

    def _validate(self, learning: Learning) -> dict:
        trainer = learning.trainer
        own = trainer.global_rank, trainer.world_size
        total = (lambda part: trainer.strategy.reduce(part, reduce_op="sum")) if self.together else None
        found = held_out(
            learning.judged, self.data, "validation", self.settings.validation_symbols, own=own, total=total
        )
        return {"validation": found.loss} | ({} if found.right is None else {"right": found.right})

    def _sample(self, record: dict, learning: Learning) -> dict:
        """What the network writes now, the same for the same seed and step."""
        wanted, step = self.settings.sample, record["step"]
        generator = torch.Generator().manual_seed((self.seed << 32) + step)
        pieces = self.data.write(learning.judged, wanted.prompt, wanted.temperature, wanted.length, generator)
        about = {"step": step, "targets": record["targets"], "prompt": wanted.prompt, "temperature": wanted.temperature}
        return about | {"text": "".join(pieces)}

    def _stop_clock(self, learning: Learning) -> None:
        learning.wait()
        now = time.monotonic()
        self.seconds += now - self.began
        self.began = now

    def _late(self) -> bool:
        return (
            self.settings.seconds is not None and self.seconds + time.monotonic() - self.began >= self.settings.seconds
        )

    def _look(self, trainer: lightning.Trainer, step: int) -> None:
        """Sets `signal`, which came, None for none, and `late`, whether time is up: as on any rank, so that all do the
        same. So they agree on the next step after which they look: after STRETCH, as the slowest one goes."""
        number, late, steps = self.asked, self._late(), step - self.looked
        if self.together:
            pace = steps / max(time.monotonic() - self.paused, 1e-9)
            ahead = max(1, min(2 * steps, int(STRETCH * pace)))
            found = torch.tensor([number, late, -ahead], dtype=torch.float64, device=trainer.strategy.root_device)
            number, late, ahead = map(int, trainer.strategy.reduce(found, reduce_op="max").tolist())
            self.next_look = step - ahead
        self.looked, self.signal, self.late = step, number or None, bool(late)

    def _check(self, record: dict, learning: Learning) -> None:
        reason = divergence(self.cfg, record, learning.batches.scale, self.data.answers.units.loss, learning.rate)
        if reason is not None:
            raise Diverged(f"{self.run.path.name}: {reason}")

    def _compare(self, record: dict, learning: Learning) -> None:
        if not math.isfinite(record["validation"]):
            raise Diverged(
                f"{self.run.path.name}: the validation loss is {record['validation']} at step {record['step']:,}, the "
                f"training loss {record['train']:.3g}: it knows what it has seen and nothing else, take other settings"
            )
        if self.reached is None and self.goal.reached(record["validation"], record.get("right")):
            self.reached = {"measure": self.goal.measure, "value": self.goal.value}
            self.reached |= {name: record[name] for name in ("step", "targets")}
        if record["validation"] < self.best:
            self.best, self.without_best = record["validation"], 0
            if learning.trainer.is_global_zero:
                self._keep(self.run.best, learning, step=record["step"], validation=record["validation"])
        else:
            self.without_best += 1

    def _keep(self, path: Path, learning: Learning, **about: float) -> None:
        """The weights that are judged now."""
        kept = {"network": learning.judged.state_dict()} | about
        learning.trainer.strategy.checkpoint_io.save_checkpoint(kept, path)

    def teardown(self, trainer: lightning.Trainer, learning: Learning, stage: str) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if self.progress is not None:
            self.progress.close()


def plain(node: DictConfig) -> SimpleNamespace:
    """The resolved node as an object with attributes; reading a DictConfig at every step costs more than a small
    step."""
    text = json.dumps(OmegaConf.to_container(node, resolve=True))
    return json.loads(text, object_hook=lambda entries: SimpleNamespace(**entries))
