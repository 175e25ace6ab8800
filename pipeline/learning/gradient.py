"""Gradient learning of a language model by truncated backpropagation through time."""

import functools
import math
from collections.abc import Callable, Iterable

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.datasets.streams import Streams, Window
from pipeline.verb import Refusal


class GradientLearning(lightning.LightningModule):
    """Minimizes -sum_t log p(x_{t+1} | x_{<=t}) over windows of T steps; the state flows from window to window, the gradient does not.

    network     maps (symbols [T, B], state) to (logits [T, B, V], state); `start(batch)` gives the state at stream starts
    optimizer   parameters -> torch optimizer;  schedule  (step, steps=, epoch=) -> factor on its learning rate
    loss        "mean" over the window's targets, or "sum" over its steps, mean over streams (min-char-rnn)
    clip_value  each gradient entry clamped to +-clip_value;  clip_norm  then the gradient's 2-norm to at most clip_norm; None: off
    seed        of dropout's random numbers
    Losses in nats per symbol. `smoothed` is min-char-rnn's: s <- 0.999 s + 0.001 loss from s = log V.
    """

    def __init__(self, network: nn.Module, streams: Streams, optimizer: Callable, schedule: Callable, steps: int, loss: str,
                 clip_value: float | None, clip_norm: float | None, seed: int):
        super().__init__()
        if loss not in ("mean", "sum"):
            raise Refusal(f"trainer.loss={loss}: take mean or sum")
        self.network, self.streams = network, streams
        self.make_optimizer = optimizer
        self.schedule = functools.partial(schedule, steps=steps, epoch=len(streams))
        self.loss, self.clip_value, self.clip_norm = loss, clip_value, clip_norm
        self.seed = seed
        self.state: tuple[Tensor, ...] | None = None
        self.smoothed = torch.tensor(math.log(streams.vocabulary), dtype=torch.float64)
        self.nats = torch.zeros((), dtype=torch.float64)
        self.targets = 0

    def configure_optimizers(self):
        optimizer = self.make_optimizer([p for p in self.network.parameters() if p.requires_grad])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Iterable[Window]:
        return self.streams.epochs_from(self.global_step)

    def training_step(self, window: Window, index: int) -> Tensor:
        # Random numbers are a function of (seed, step, rank): a continuation draws what an uninterrupted run draws.
        seed = ((self.seed << 40) + (self.global_step << 12) + self.global_rank) % 2**63
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        else:                               # torch.manual_seed notes a traceback for a GPU that is not in use, at every call
            torch.default_generator.manual_seed(seed)
        if window.reset or self.state is None:
            self.state = self.network.start(window.inputs.shape[1])
        logits, state = self.network(window.inputs, self.state)
        self.state = tuple(part.detach() for part in state)
        # A rank's share of the whole window's loss: the ranks' gradients are averaged, so each share counts world times.
        nats = F.cross_entropy(logits.flatten(0, 1), window.targets.flatten(), ignore_index=self.streams.vocabulary,
                               reduction="sum") * self.trainer.world_size
        self._record(nats.detach().double(), window.count)
        return nats / (window.count if self.loss == "mean" else self.streams.batch)

    def _record(self, nats: Tensor, count: int) -> None:
        if self.trainer.world_size > 1:
            nats = self.trainer.strategy.reduce(nats, reduce_op="mean")
        self.nats += nats
        self.targets += count
        self.smoothed.mul_(0.999).add_(nats / count, alpha=0.001)

    def take_mean(self) -> float:
        """Training loss since the last call, nats per symbol."""
        mean = self.nats.item() / self.targets
        self.nats.zero_()
        self.targets = 0
        return mean

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        parameters = optimizer.param_groups[0]["params"]
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)

    # What an exact continuation needs beside the parameters and the optimizer. States are kept for all streams of all
    # ranks, so a run may go on with another number of them.

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["carried"] = [self._of_all_ranks(part) for part in self.state]
        checkpoint["loss"] = (self.smoothed, self.nats, self.targets)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.state = tuple(part[:, self.streams.own] for part in checkpoint["carried"])
        self.smoothed, self.nats, self.targets = checkpoint["loss"]

    def on_train_start(self) -> None:
        self.smoothed, self.nats = self.smoothed.to(self.device), self.nats.to(self.device)
        if self.state is not None:
            self.state = tuple(part.to(self.device) for part in self.state)

    def _of_all_ranks(self, part: Tensor) -> Tensor:
        """[L, B of this rank, ...] -> [L, B, ...]."""
        gathered = self.all_gather(part)                # one rank: as it is; else [world, L, B of a rank, ...]
        return gathered if self.trainer.world_size == 1 else torch.cat(list(gathered), dim=1)
