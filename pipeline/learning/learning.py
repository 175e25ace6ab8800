"""What all learning rules share: batches in order, the carried state, the mean of the loss, exact continuation."""

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytorch_lightning as lightning
import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor

from pipeline.cells.cell import State
from pipeline.datasets.batch import Batch, Batches
from pipeline.models.model import SequenceModel


class Learning(lightning.LightningModule):
    """Reads batches in their order, the state carried from one to the next where they go on. A subclass is made by the
    rule that a choice of `optimizer` names: pipeline.learning.rule.

    What is a batch to Lightning is a stretch of training steps here, up to one after which something else is to be
    done: Lightning's work between two batches takes longer than a step of a small network.

    global_step  training steps done
    pause      (steps done) -> whether a stretch ends there, on all ranks alike
    asked      numbers asked so far, over all ranks: targets that are not blank
    smoothed   min-char-rnn's loss: s <- 0.999 s + 0.001 loss, from the loss of knowing nothing
    Losses are those of the data's answers, of one number that is asked.
    """

    def __init__(self, network: SequenceModel, batches: Batches):
        super().__init__()
        self.automatic_optimization = False
        self.network, self.batches = network, batches
        self.pause: Callable[[int], bool] = lambda step: True
        self._steps = 0
        self.state: State | None = None
        self.smoothed = torch.tensor(batches.nothing, dtype=torch.float64)
        self.total = torch.zeros((), dtype=torch.float64)
        self.asked = self.asked_before = 0  # .. the last record

    def strategy(self, timeout: timedelta) -> Strategy:
        """How several ranks learn together; they wait for one another for so long."""
        raise NotImplementedError

    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        """PyTorch's optimizer, where there is one."""
        return None

    @property
    def global_step(self) -> int:
        return self._steps

    @property
    def judged(self) -> SequenceModel:
        """What is validated, kept as the best and sampled."""
        return self.network

    @property
    def rate(self) -> float | None:
        """The learning rate of the next step; None where there is none."""
        return None

    def learn(self, batch: Batch) -> None:
        """One training step."""
        raise NotImplementedError

    def train_dataloader(self) -> Iterator[int]:
        return itertools.count()

    def training_step(self, stretch: int, index: int) -> None:
        while True:
            self.learn(self.batches.at(self._steps).to(self.device, self.network.dtype))
            self._steps += 1
            if self.pause(self._steps):
                return

    def enter(self, batch: Batch) -> None:
        """The state before a batch: that after the last one; or a start, where sequences start or network.restart says
        that they are to."""
        if not batch.carried or self.state is None or self._restarts():
            self.state = self.network.start_of(batch)

    def _restarts(self) -> bool:
        """At the first of as many batches as network.restart elements fill, and one at least."""
        if self.network.restart is None:
            return False
        return self.global_step % len(self.batches) % max(1, self.network.restart // self.batches.longest) == 0

    def record(self, loss: Tensor, count: int) -> None:
        """Takes note of the sum of losses over `count` numbers of all ranks, of which `loss` is the mean over ranks. So
        are `total` and `smoothed`, which each rank sums up for itself: ranks need not wait for one another."""
        self.total += loss
        self.asked += count
        if count:
            self.smoothed.mul_(0.999).add_(loss / count, alpha=0.001)

    def wait(self) -> None:
        """Until the device has done all that it was asked for: Python runs ahead of a GPU."""
        if self.device.type != "cpu":
            torch.get_device_module(self.device).synchronize(self.device)

    def take_losses(self) -> tuple[float, float]:
        """Of one number that was asked: the training loss since the last call, and the smoothed one."""
        total, smoothed = self._over_ranks(torch.stack([self.total, self.smoothed])).tolist()
        mean = total / max(1, self.asked - self.asked_before)
        self.total.zero_()
        self.asked_before = self.asked
        return mean, smoothed

    def _over_ranks(self, part: Tensor) -> Tensor:
        """The mean."""
        return part if self.trainer.world_size == 1 else self.trainer.strategy.reduce(part, reduce_op="mean")

    # What an exact continuation needs beside the parameters and the optimizer. States are kept for all sequences of all
    # ranks, so a run may go on with another number of them.

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        del checkpoint["loops"]  # Lightning's count of stretches, which says how fast this machine was
        checkpoint["global_step"] = self._steps
        checkpoint["carried"] = [self._of_all_ranks(part) for part in self.state]
        losses = torch.stack([self.smoothed, self.total])
        if self.trainer.world_size > 1:  # as many ranks go on with what each had, to the bit
            checkpoint["losses"] = self.all_gather(losses)
        checkpoint["loss"] = (*self._over_ranks(losses).clone(), self.asked, self.asked_before)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self._steps = checkpoint["global_step"]
        self.state = tuple(part[:, self.batches.own] for part in checkpoint["carried"])
        self.smoothed, self.total, self.asked, self.asked_before = checkpoint["loss"]
        if "losses" in checkpoint and len(checkpoint["losses"]) == self.trainer.world_size:
            self.smoothed, self.total = checkpoint["losses"][self.global_rank].clone()

    def on_train_start(self) -> None:
        self.smoothed, self.total = self.smoothed.to(self.device), self.total.to(self.device)
        if self.state is not None:
            self.state = tuple(part.to(self.device) for part in self.state)

    def _of_all_ranks(self, part: Tensor) -> Tensor:
        """[L, B of this rank, ...] -> [L, B, ...]."""
        gathered = self.all_gather(part)  # one rank: as it is; else [world, L, B of a rank, ...]
        return gathered if self.trainer.world_size == 1 else torch.cat(list(gathered), dim=1)
