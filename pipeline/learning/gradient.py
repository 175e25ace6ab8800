"""Gradient learning by truncated backpropagation through time."""

import functools
from collections.abc import Callable
from datetime import timedelta

import torch
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor, nn

from pipeline.datasets.batch import Batch, Batches
from pipeline.learning.learning import Learning
from pipeline.models.model import SequenceModel
from pipeline.recurrence.dropout import share_masks


class GradientLearning(Learning):
    """Minimizes the loss over batches of T steps; the state flows from batch to batch where they go on, the gradient
    does not.

    network     a model whose parameters ask for gradients
    optimizer   parameters -> torch optimizer
    schedule    (step, steps=, epoch=) -> name of one of its settings, "lr" or "momentum" -> the factor on it at this
                step
    loss        "mean" over what a batch asks, or "sum" over its steps, mean over sequences (min-char-rnn)
    clip_value  each gradient entry clamped to +-clip_value;  clip_norm  then the gradient's 2-norm to at most
                clip_norm; None: off
    seed        of dropout's random numbers
    """

    def __init__(
        self,
        network: SequenceModel,
        batches: Batches,
        optimizer: Callable,
        schedule: Callable,
        steps: int,
        loss: str,
        clip_value: float | None,
        clip_norm: float | None,
        seed: int,
    ):
        super().__init__(network, batches)
        self.make_optimizer = optimizer
        self.schedule = functools.partial(schedule, steps=steps, epoch=len(batches))
        self.loss, self.clip_value, self.clip_norm = loss, clip_value, clip_norm
        self.seed = seed
        share_masks(network, batches.batch, batches.own)
        self.settings: list[dict[str, float]] = []  # of the optimizer's groups, before any factor

    def strategy(self, timeout: timedelta) -> Strategy:
        return DDPStrategy(timeout=timeout, find_unused_parameters=self.network.seldom_used)

    def factors(self, step: int) -> dict[str, float]:
        """What the schedule puts on the optimizer's settings at a step."""
        return self.schedule(step)

    @property
    def rate(self) -> float:
        return self.settings[0]["lr"] * self.factors(self.global_step).get("lr", 1.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.make_optimizer([p for p in self.network.parameters() if p.requires_grad])
        self.settings = [{name: setting(group, name) for name in self.factors(0)} for group in optimizer.param_groups]
        for settings, group in zip(self.settings, optimizer.param_groups):
            settings.setdefault("lr", group["lr"])
        return optimizer

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        factors = self.factors(self.global_step)
        for settings, group in zip(self.settings, self.trainer.optimizers[0].param_groups, strict=True):
            for name, factor in factors.items():
                put_setting(group, name, settings[name] * factor)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # Random numbers are a function of (seed, step): a continuation draws what an uninterrupted run draws, and every
        # rank what one alone would.
        seed = ((self.seed << 40) + (self.global_step << 12)) % 2**63
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        else:  # torch.manual_seed notes a traceback for a GPU that is not in use, at every call
            torch.default_generator.manual_seed(seed)
        self.enter(batch)
        loss, state = self.network.loss(batch, self.state)
        self.state = tuple(part.detach() for part in state)
        # A rank's share of the whole batch's loss: the ranks' gradients are averaged, so each share counts world times.
        loss = loss * self.trainer.world_size
        self.record(loss.detach().double(), batch.count)
        return loss / (max(1, batch.count) if self.loss == "mean" else self.batches.batch)

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        parameters = optimizer.param_groups[0]["params"]
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, self.clip_value)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)


def setting(group: dict, name: str) -> float:
    """A setting of an optimizer's group; "momentum" is the first of Adam's betas. ValueError: it has none of this
    name."""
    if name == "momentum" and "betas" in group:
        return group["betas"][0]
    if name not in group:
        raise ValueError(f"the schedule sets its {name}, which it does not have: take another schedule")
    return group[name]


def put_setting(group: dict, name: str, value: float) -> None:
    if name == "momentum" and "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group[name] = value
