"""Learning from the validation part: what models are to know that are made of others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from hydra.utils import get_class
from omegaconf import DictConfig

from pipeline.command.refusal import Refusal
from pipeline.command.setting import Count
from pipeline.datasets.batch import Batch, Batches, Reading
from pipeline.datasets.data import Data
from pipeline.learning.rule import Rule
from pipeline.models.model import SequenceModel

if TYPE_CHECKING:
    from pipeline.learning.learning import Learning


class HeldOut(Rule):
    """From sums over passes over the validation part, or its first trainer.validation_symbols, read as it is judged:
    the training part has made the members surer than they are of anything else. Validation losses are then those of
    what was learned from; the test part was seen by none."""

    name = "held_out"
    passes: Count | None

    @classmethod
    def settle(cls, cfg: DictConfig, data: Data) -> None:
        """optimizer.passes as the model has it, trainer.steps as their batches; validation at the end."""
        trainer, optimizer = cfg.trainer, cfg.optimizer
        for key in ("batch", "length", "steps", "seconds"):
            if trainer[key] is not None:
                raise Refusal(
                    f"trainer.{key}={trainer[key]}: optimizer={optimizer.name} reads the validation part as it is "
                    "judged: leave it out"
                )
        if trainer.devices * trainer.nodes > 1:
            raise Refusal(
                f"trainer.devices={trainer.devices} x nodes={trainer.nodes}: optimizer={optimizer.name} takes 1"
            )
        batches = cls.batches(cfg, data, 0, 1)
        trainer.batch, trainer.length = batches.batch, batches.longest
        if optimizer.passes is None:
            optimizer.passes = get_class(cfg.model._target_).passes(cfg.model)
        trainer.steps = optimizer.passes * len(batches)
        if trainer.validate_every is None:
            trainer.validate_every = trainer.steps

    @classmethod
    def batches(cls, cfg: DictConfig, data: Data, rank: int, world: int) -> Batches:
        reading = Reading(restart=cfg.trainer.restart)
        nothing = data.training(*data.shape(None, None)).nothing
        return HeldOutBatches(data.held_out("validation", cfg.trainer.validation_symbols, reading), nothing)

    @classmethod
    def learning(cls, cfg: DictConfig, network: SequenceModel, batches: Batches) -> "Learning":
        from pipeline.learning.statistics import StatisticsLearning

        return StatisticsLearning(network, batches)


class HeldOutBatches(Batches):
    """Batches of a held-out part, again and again; positions number its inputs as they are read."""

    def __init__(self, found: Sequence[Batch], nothing: float):
        self.found, self._elements = [], 0
        for batch in found:
            T, B = batch.inputs.shape[:2]
            positions = torch.arange(self._elements, self._elements + T * B).view(T, B)
            self.found.append(batch._replace(positions=positions))
            self._elements += T * B
        super().__init__(max(batch.inputs.shape[1] for batch in self.found), 0, 1)
        self.longest = max(len(batch.inputs) for batch in self.found)
        self.nothing = nothing

    def __len__(self) -> int:
        return len(self.found)

    @property
    def elements(self) -> int:
        return self._elements

    def at(self, step: int) -> Batch:
        return self.found[step % len(self.found)]
