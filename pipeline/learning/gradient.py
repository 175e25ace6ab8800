"""Gradient learning by truncated backpropagation through time."""

import functools
import sys
from collections.abc import Callable
from datetime import timedelta

import torch
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batch, Batches
from pipeline.learning.flat import Flat
from pipeline.learning.learning import Learning
from pipeline.models.model import SequenceModel
from pipeline.recurrence.dropout import share_masks


class GradientLearning(Learning):
    """Minimizes the loss over batches of T steps; the state flows from batch to batch where they go on, the gradient
    does not.

    network     a model whose parameters ask for gradients
    optimizer   parameters -> torch optimizer
    schedule    (step, steps=, epoch=) -> name of one of its settings, "lr" or "momentum" -> the factor on it at this
                step; a setting that is not named stays as it is. Raises ValueError where the optimizer has none of this
                name at the first or the last step, and Refusal at a step between
    loss        "mean" over what a batch asks, or "sum" over its steps, mean over sequences (min-char-rnn)
    clip_value  each gradient entry clamped to +-clip_value;  clip_norm  then the gradient's 2-norm to at most
                clip_norm; None: off
    seed        of dropout's random numbers
    ema_decay   d: judged is an average a of the weights w, a <- a + (1 - d_t) (w_t - a) after step t = 1, 2, ...,
                d_t = min(d, (1 + t) / (10 + t)), so that it forgets the first ones (TensorFlow's
                ExponentialMovingAverage with num_updates); None: the weights
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
        ema_decay: float | None = None,
    ):
        super().__init__(network, batches)
        self.make_optimizer = optimizer
        self.schedule = functools.partial(schedule, steps=steps, epoch=len(batches))
        self.loss, self.clip_value, self.clip_norm = loss, clip_value, clip_norm
        self.seed, self.steps = seed, steps
        share_masks(network, batches.batch, batches.own)
        self.ema_decay = ema_decay
        self.average = None if ema_decay is None else AveragedModel(network).requires_grad_(False)
        self.settings: list[dict] = []  # of the optimizer's groups, before any factor
        self.alone = batches.own == slice(0, batches.batch)
        self.learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.flat: Flat | None = None
        self.joins = True  # whether what is gone on from was, or could have been, an optimizer on one vector

    def strategy(self, timeout: timedelta) -> Strategy:
        return DDPStrategy(timeout=timeout, find_unused_parameters=self.network.seldom_used)

    @property
    def judged(self) -> SequenceModel:
        return self.network if self.average is None else self.average.module

    def factors(self, step: int) -> dict[str, float]:
        """What the schedule puts on the optimizer's settings at a step."""
        return self.schedule(step)

    @property
    def rate(self) -> float:
        factors, [group, *_] = self.factors(self.global_step), self.trainer.optimizers[0].param_groups
        return self.settings[0]["lr"] * factors["lr"] if "lr" in factors else group["lr"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.make_optimizer(self.learned)
        if self.alone and self.joins and not self.network.seldom_used and Flat.suits(optimizer, self.learned):
            self.flat = Flat(self.learned)
            optimizer = self.flat.over(self.make_optimizer)
        self.settings = [
            {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
        ]
        for name in self.factors(0) | self.factors(self.steps - 1):
            for settings in self.settings:
                setting(settings, name)
        return optimizer

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        super().on_load_checkpoint(checkpoint)
        self.joins = all(map(Flat.joins, checkpoint["optimizer_states"]))

    def learn(self, batch: Batch) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        self._schedule(optimizer)
        for parameter in self.learned:  # as zero_grad does, which takes as long as a small product
            parameter.grad = None
        loss = self._loss(batch)
        if self.alone:
            loss.backward()
        else:  # ranks average their gradients
            self.manual_backward(loss)
        if self.flat is not None and any(parameter.grad is None for parameter in self.learned):
            optimizer = self._apart(optimizer)
        self._clip()
        optimizer.step()
        if self.average is not None:
            self._move_average()

    @torch.no_grad()
    def _move_average(self) -> None:
        """As AveragedModel.update_parameters, which asks the device how often it has done so."""
        averages, weights = (list(module.parameters()) for module in (self.average.module, self.network))
        t = self.global_step + 1
        if t == 1:
            torch._foreach_copy_(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, 1 - min(self.ema_decay, (1 + t) / (10 + t)))
        for ours, theirs in zip(self.average.module.buffers(), self.network.buffers(), strict=True):
            ours.copy_(theirs)
        self.average.n_averaged += 1

    def _apart(self, joint: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """An optimizer on each parameter that goes on from one on the vector: it leaves alone what has no gradient."""
        optimizer = self.make_optimizer(self.learned)
        optimizer.load_state_dict(joint.state_dict())
        self.flat, self.trainer.optimizers = None, [optimizer]
        return optimizer

    def _schedule(self, optimizer: torch.optim.Optimizer) -> None:
        """Puts the schedule's factors on the settings, as they are for this step."""
        for settings, group in zip(self.settings, optimizer.param_groups, strict=True):
            for name, factor in self.factors(self.global_step).items():
                try:
                    put_setting(group, name, setting(settings, name), factor)
                except ValueError as error:
                    raise Refusal(f"step {self.global_step + 1:,}: {error}") from error

    def _loss(self, batch: Batch) -> Tensor:
        """What is minimized; the state goes on, and the loss is noted."""
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
        if not self.alone:
            # A rank's share of the whole batch's loss: gradients are averaged, so each share counts world times.
            loss = loss * self.trainer.world_size
        self.record(loss.detach().double(), batch.count)
        return loss / (max(1, batch.count) if self.loss == "mean" else self.batches.batch)

    def _clip(self) -> None:
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(self.learned, self.clip_value)
        if self.flat is not None:
            self.flat.collect(self.clip_norm)
        elif self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.learned, self.clip_norm)


def setting(group: dict, name: str) -> float:
    """A setting of an optimizer's group; "momentum" is the first of Adam's betas. ValueError: it has none of this
    name."""
    if name == "momentum" and "betas" in group:
        return group["betas"][0]
    if name not in group:
        raise ValueError(f"the schedule sets its {name}, which it does not have: take another schedule")
    return group[name]


def put_setting(group: dict, name: str, value: float, factor: float) -> None:
    """The setting as value times factor. Momentum that is 0 for a time is the least number above it: at 0 optimizers
    keep no velocity, v = 0 v + g, to go on from."""
    scheduled = value * factor
    if name == "momentum" and "betas" in group:
        group["betas"] = (scheduled, *group["betas"][1:])
    elif name == "momentum" and value:
        group[name] = scheduled or sys.float_info.min
    else:
        group[name] = scheduled
