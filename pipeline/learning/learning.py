"""What all learning rules share: windows in order, the carried state, the mean of the loss, exact continuation."""

from collections.abc import Iterable

import pytorch_lightning as lightning
import torch
from torch import Tensor

from pipeline.datasets.streams import Contiguous, Window
from pipeline.models.model import SequenceModel


class Learning(lightning.LightningModule):
    """Reads windows of `streams` in their order, the state carried from window to window.

    Losses are those of pipeline.learning.losses, a target. `smoothed` is min-char-rnn's: s <- 0.999 s + 0.001 loss,
    from the loss of knowing nothing.
    """

    def __init__(self, network: SequenceModel, streams: Contiguous):
        super().__init__()
        self.network, self.streams = network, streams
        self.state: tuple[Tensor, ...] | None = None
        self.smoothed = torch.tensor(streams.nothing, dtype=torch.float64)
        self.total = torch.zeros((), dtype=torch.float64)
        self.targets = 0

    def train_dataloader(self) -> Iterable[Window]:
        return self.streams.epochs_from(self.global_step)

    def start_window(self, window: Window) -> None:
        """The state before it: that after the last window, or a start."""
        if window.reset or self.state is None:
            self.state = self.network.start(window.inputs.shape[1])

    def record(self, loss: Tensor, count: int) -> None:
        """Takes note of the sum of losses over `count` targets of all ranks, of which `loss` is the mean over ranks."""
        if self.trainer.world_size > 1:
            loss = self.trainer.strategy.reduce(loss, reduce_op="mean")
        self.total += loss
        self.targets += count
        self.smoothed.mul_(0.999).add_(loss / count, alpha=0.001)

    def take_mean(self) -> float:
        """Training loss since the last call, a target."""
        mean = self.total.item() / self.targets
        self.total.zero_()
        self.targets = 0
        return mean

    # What an exact continuation needs beside the parameters and the optimizer. States are kept for all streams of all
    # ranks, so a run may go on with another number of them.

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["carried"] = [self._of_all_ranks(part) for part in self.state]
        checkpoint["loss"] = (self.smoothed, self.total, self.targets)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.state = tuple(part[:, self.streams.own] for part in checkpoint["carried"])
        self.smoothed, self.total, self.targets = checkpoint["loss"]

    def on_train_start(self) -> None:
        self.smoothed, self.total = self.smoothed.to(self.device), self.total.to(self.device)
        if self.state is not None:
            self.state = tuple(part.to(self.device) for part in self.state)

    def _of_all_ranks(self, part: Tensor) -> Tensor:
        """[L, B of this rank, ...] -> [L, B, ...]."""
        gathered = self.all_gather(part)  # one rank: as it is; else [world, L, B of a rank, ...]
        return gathered if self.trainer.world_size == 1 else torch.cat(list(gathered), dim=1)
