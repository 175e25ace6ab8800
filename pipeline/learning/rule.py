"""Learning rules: what an optimizer's choice names under `rule`.

Lightning takes seconds to import, so it is only imported when something learns.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Len, Lt
from omegaconf import DictConfig

from pipeline.command.choice import function, make
from pipeline.command.refusal import Refusal
from pipeline.command.setting import Called, Count, NotNegative, Width
from pipeline.datasets.batch import Batches
from pipeline.datasets.data import Data
from pipeline.datasets.space import Pixels
from pipeline.models.model import SequenceModel

if TYPE_CHECKING:
    from pipeline.learning.learning import Learning


class Rule:
    """How parameters are found. A new one is a subclass in a file of its own, with what learns by it.

    name  as SequenceModel.learned_by lists it
    The other annotations are the settings of its choices of `optimizer`.
    """

    name: str
    averages = False  # whether trainer.ema_decay is its own

    @classmethod
    def settle(cls, cfg: DictConfig, data: Data) -> None:
        """Sets what the trainer's settings leave to the data and the rule: trainer.batch, .length, .steps,
        .validate_every. Raises Refusal for settings that the rule does not know."""
        if cfg.trainer.ema_decay is not None and not cls.averages:
            raise Refusal(
                f"trainer.ema_decay={cfg.trainer.ema_decay}: only weights that are learned by gradient descent are "
                "averaged: take null"
            )
        cfg.trainer.batch, cfg.trainer.length = data.shape(cfg.trainer.batch, cfg.trainer.length)

    @classmethod
    def batches(cls, cfg: DictConfig, data: Data, rank: int, world: int) -> Batches:
        """What is learned from, a rank's share of it: the training part."""
        return data.training(cfg.trainer.batch, cfg.trainer.length, rank, world)

    @classmethod
    def learning(cls, cfg: DictConfig, network: SequenceModel, batches: Batches) -> "Learning":
        """What learns, with the settings of a settled configuration. Raises Refusal for settings that it cannot
        take."""
        raise NotImplementedError


def refuse_short_restart(cfg: DictConfig) -> None:
    restart, length = cfg.trainer.restart, cfg.trainer.length
    if restart is not None and length is not None and restart < length:
        raise Refusal(f"trainer.restart={restart}: a batch has trainer.length={length} steps: take that at least")


class Gradient(Rule):
    """Gradient descent by truncated backpropagation through time: pipeline.learning.gradient."""

    name, averages = "gradient", True
    lr: Width
    momentum: Annotated[float, Ge(0), Lt(1)]
    dampening: Annotated[float, Ge(0), Lt(1)]
    nesterov: bool
    alpha: Annotated[float, Ge(0), Lt(1)]
    centered: bool
    betas: Annotated[
        list[Annotated[float, Ge(0), Lt(1)]], Len(2, 2), Called("two numbers from 0, below 1: [0.9,0.999]")
    ]
    amsgrad: bool
    rho: Annotated[float, Ge(0), Lt(1)]
    lr_decay: NotNegative
    initial_accumulator_value: NotNegative
    eps: NotNegative
    weight_decay: NotNegative
    maximize: bool

    @classmethod
    def settle(cls, cfg: DictConfig, data: Data) -> None:
        super().settle(cfg, data)
        refuse_short_restart(cfg)
        if cfg.trainer.batch == 1 and any(isinstance(space, Pixels) for space in data.given):
            raise Refusal(
                "trainer.batch=1: what a learned encoder sees is in units of each batch's pictures, and one alone has "
                "none: take 2 or more, or encoder.fine_tune=false"
            )

    @classmethod
    def learning(cls, cfg: DictConfig, network: SequenceModel, batches: Batches) -> "Learning":
        from pipeline.learning.gradient import GradientLearning

        trainer, optimizer = cfg.trainer, cfg.optimizer
        learning = GradientLearning(
            network,
            batches,
            make({key: value for key, value in optimizer.items() if key != "rule"}),
            function(cfg.schedule),
            trainer.steps,
            trainer.loss,
            trainer.clip_value,
            trainer.clip_norm,
            cfg.seed,
            trainer.ema_decay,
        )
        try:
            learning.configure_optimizers()
        except (TypeError, ValueError) as error:
            raise Refusal(f"optimizer={optimizer.name}: {error}") from error
        return learning


class HessianFree(Rule):
    """A quadratic model of the loss, minimized by conjugate gradients at each step: pipeline.learning.hessian_free."""

    name = "hessian_free"
    damping: Width
    structural_damping: NotNegative
    cg_steps: Count
    curvature_batch: Count | None
    micro_batch: Count | None

    @classmethod
    def settle(cls, cfg: DictConfig, data: Data) -> None:
        super().settle(cfg, data)
        trainer, model, some = cfg.trainer, cfg.model, cfg.optimizer.curvature_batch
        refuse_short_restart(cfg)
        schedule = cfg.schedule._target_.rpartition(".")[2]
        if schedule != "constant":
            raise Refusal(f"schedule={schedule}: optimizer=hessian_free has no learning rate to change: leave it out")
        if some is not None and some > trainer.batch:
            raise Refusal(
                f"optimizer.curvature_batch={some}: they are some of the trainer.batch={trainer.batch} sequences: take "
                "that at most, or null"
            )
        for dropout in ("dropout", "embedding_dropout", "weight_drop"):
            if model.get(dropout):
                raise Refusal(
                    f"model.{dropout}={model[dropout]}: optimizer=hessian_free compares losses of one step: take 0"
                )
        if "samples" in (model.get("readout") or {}):
            raise Refusal("readout=sampled: optimizer=hessian_free compares losses of one step: take readout=linear")
        if any(isinstance(space, Pixels) for space in data.given):
            raise Refusal(
                "encoder.fine_tune=true: optimizer=hessian_free compares losses of one step, and the units of learned "
                "features change with every reading: take false"
            )

    @classmethod
    def learning(cls, cfg: DictConfig, network: SequenceModel, batches: Batches) -> "Learning":
        from pipeline.learning.hessian_free import HessianFreeLearning

        optimizer = cfg.optimizer
        if optimizer.structural_damping and not network.has_activities:
            raise Refusal(
                f"optimizer.structural_damping={optimizer.structural_damping:g}: model={cfg.model.name} has no hidden "
                "units to be damped: take 0"
            )
        return HessianFreeLearning(
            network,
            batches,
            cfg.trainer.loss,
            optimizer.damping,
            optimizer.structural_damping,
            optimizer.cg_steps,
            optimizer.curvature_batch,
            optimizer.micro_batch,
            cfg.seed,
        )


class Untrained(Rule):
    """Parameters stay as they were drawn: one step reads a batch and changes nothing. For models that learn by
    gradient."""

    name = Gradient.name

    @classmethod
    def settle(cls, cfg: DictConfig, data: Data) -> None:
        super().settle(cfg, data)
        cfg.trainer.steps = cfg.trainer.validate_every = cfg.trainer.checkpoint_every = 1

    @classmethod
    def learning(cls, cfg: DictConfig, network: SequenceModel, batches: Batches) -> "Learning":
        from pipeline.learning.untrained import UntrainedLearning

        return UntrainedLearning(network, batches)


class InPasses(Rule):
    """From sums over whole passes: pipeline.learning.statistics."""

    single = False  # whether it has nothing before its one pass is over
    passes: Count

    @classmethod
    def settle(cls, cfg: DictConfig, data: Data) -> None:
        """trainer.steps as the batches of optimizer.passes passes; trainer.batch, .length and .validate_every where
        they are null."""
        trainer, optimizer = cfg.trainer, cfg.optimizer
        if cls.single and trainer.seconds is not None:
            raise Refusal(
                f"trainer.seconds={trainer.seconds}: optimizer={optimizer.name} has nothing before its one pass is "
                "over: leave it out"
            )
        super().settle(cfg, data)
        batches = len(data.training(trainer.batch, trainer.length))
        if trainer.restart is not None:
            raise Refusal(
                f"trainer.restart={trainer.restart}: model={cfg.model.name} learns in passes over the data: take null"
            )
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
    passes: Literal[1]


class Counting(InPasses):
    """How often each symbol follows each context, in one pass."""

    name, single = "count", True
    passes: Literal[1]
