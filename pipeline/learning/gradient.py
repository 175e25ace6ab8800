"""Gradient learning by truncated backpropagation through time."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.command.refusal import Refusal
from pipeline.datasets.streams import Contiguous, Window
from pipeline.learning.learning import Learning
from pipeline.learning.losses import total_loss
from pipeline.models.model import SequenceModel


class GradientLearning(Learning):
    """Minimizes the loss over windows of T steps; the state flows from window to window, the gradient does not.

    network     a model whose parameters ask for gradients
    optimizer   parameters -> torch optimizer;  schedule  (step, steps=, epoch=) -> factor on its learning rate
    loss        "mean" over the window's targets, or "sum" over its steps, mean over streams (min-char-rnn)
    clip_value  each gradient entry clamped to +-clip_value;  clip_norm  then the gradient's 2-norm
                to at most clip_norm; None: off
    seed        of dropout's random numbers
    """

    def __init__(
        self,
        network: SequenceModel,
        streams: Contiguous,
        optimizer: Callable,
        schedule: Callable,
        steps: int,
        loss: str,
        clip_value: float | None,
        clip_norm: float | None,
        seed: int,
    ):
        super().__init__(network, streams)
        if loss not in ("mean", "sum"):
            raise Refusal(f"trainer.loss={loss}: take mean or sum")
        self.make_optimizer = optimizer
        self.schedule = functools.partial(schedule, steps=steps, epoch=len(streams))
        self.loss, self.clip_value, self.clip_norm = loss, clip_value, clip_norm
        self.seed = seed

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.trainer.optimizers[0].param_groups[0]["lr"]

    def configure_optimizers(self):
        optimizer = self.make_optimizer([p for p in self.network.parameters() if p.requires_grad])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, window: Window, index: int) -> Tensor:
        # Random numbers are a function of (seed, step, rank): a continuation draws what an uninterrupted run draws.
        seed = ((self.seed << 40) + (self.global_step << 12) + self.global_rank) % 2**63
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        else:  # torch.manual_seed notes a traceback for a GPU that is not in use, at every call
            torch.default_generator.manual_seed(seed)
        self.start_window(window)
        prediction, state = self.network(window.inputs, self.state)
        self.state = tuple(part.detach() for part in state)
        # A rank's share of the whole window's loss: the ranks' gradients are averaged,
        # so each share counts world times.
        loss = total_loss(prediction, window.targets) * self.trainer.world_size
        self.record(loss.detach().double(), window.count)
        return loss / (window.count if self.loss == "mean" else self.streams.batch)

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        parameters = optimizer.param_groups[0]["params"]
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
