"""Learning rules: what an optimizer's choice names under `rule`.

Lightning takes seconds to import, so it is only imported when something learns.
"""

from typing import TYPE_CHECKING

from hydra.utils import instantiate
from omegaconf import DictConfig

from pipeline.command.choice import make
from pipeline.command.refusal import Refusal, whole_number
from pipeline.datasets.batch import Batches
from pipeline.datasets.data import Data
from pipeline.models.model import SequenceModel

if TYPE_CHECKING:
    from pipeline.learning.learning import Learning


class Rule:
    """How parameters are found. A new one is a subclass in a file of its own, with what learns by it.

    name  as SequenceModel.learned_by lists it
    """

    name: str

    @classmethod
    def settle(cls, cfg: DictConfig, data: Data) -> None:
        """Sets what the trainer's settings leave to the data and the rule: trainer.batch, .length, .steps,
        .validate_every. Raises Refusal for settings that the rule does not know."""
        cfg.trainer.batch, cfg.trainer.length = data.shape(cfg.trainer.batch, cfg.trainer.length)

    @classmethod
    def learning(cls, cfg: DictConfig, network: SequenceModel, batches: Batches) -> "Learning":
        """What learns, with the settings of a settled configuration. Raises Refusal for settings that it cannot
        take."""
        raise NotImplementedError


class Gradient(Rule):
    """Gradient descent by truncated backpropagation through time: pipeline.learning.gradient."""

    name = "gradient"

    @classmethod
    def learning(cls, cfg: DictConfig, network: SequenceModel, batches: Batches) -> "Learning":
        from pipeline.learning.gradient import GradientLearning

        trainer, optimizer = cfg.trainer, cfg.optimizer
        learning = GradientLearning(
            network,
            batches,
            make({key: value for key, value in optimizer.items() if key != "rule"}),
            instantiate(cfg.schedule),
            trainer.steps,
            trainer.loss,
            trainer.clip_value,
            trainer.clip_norm,
            cfg.seed,
        )
        try:
            learning.configure_optimizers()
        except (TypeError, ValueError) as error:
            raise Refusal(f"optimizer={optimizer.name}: {error}") from error
        return learning


class InPasses(Rule):
    """From sums over whole passes: pipeline.learning.statistics."""

    single = False  # whether it has nothing before its one pass is over

    @classmethod
    def settle(cls, cfg: DictConfig, data: Data) -> None:
        """trainer.steps as the batches of optimizer.passes passes; trainer.batch, .length and .validate_every where
        they are null."""
        trainer, optimizer = cfg.trainer, cfg.optimizer
        whole(cfg, "optimizer.passes")
        if cls.single and trainer.seconds is not None:
            raise Refusal(
                f"trainer.seconds={trainer.seconds}: optimizer={optimizer.name} has nothing before its one pass is "
                "over: leave it out"
            )
        super().settle(cfg, data)
        whole(cfg, "trainer.batch", *(["trainer.length"] if trainer.length is not None else []))
        batches = len(data.training(trainer.batch, trainer.length))
        if trainer.steps not in (None, optimizer.passes * batches):
            raise Refusal(
                f"trainer.steps={trainer.steps}: model={cfg.model.name} learns in passes over the data: "
                "set optimizer.passes instead"
            )
        trainer.steps = optimizer.passes * batches
        if trainer.validate_every is None:
            trainer.validate_every = batches

    @classmethod
    def learning(cls, cfg: DictConfig, network: SequenceModel, batches: Batches) -> "Learning":
        from pipeline.learning.statistics import StatisticsLearning

        return StatisticsLearning(network, batches)


class ExpectationMaximization(InPasses):
    """Expected statistics under the present parameters, then the parameters that they make likeliest (Dempster, Laird &
    Rubin 1977)."""

    name = "em"


class RidgeRegression(InPasses):
    """W = (X^T X + lambda I)^-1 X^T Y from sums of products over one pass."""

    name, single = "ridge", True


class Counting(InPasses):
    """How often each symbol follows each context, in one pass."""

    name, single = "count", True


def whole(cfg: DictConfig, *keys: str) -> None:
    """Refusal: one of these settings, such as "trainer.steps", is no whole number from 1."""
    for key in keys:
        group, name = key.split(".")
        whole_number(key, cfg[group][name])
