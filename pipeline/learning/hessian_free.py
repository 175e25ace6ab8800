"""Hessian-free optimization: the minimum of a quadratic model of the loss, by conjugate gradients, at each step."""

import copy
import math
from collections.abc import Callable, Iterator
from datetime import timedelta

import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pipeline.cells.cell import State
from pipeline.datasets.batch import Batch, Batches
from pipeline.learning.conjugate_gradient import Iterate, conjugate_gradient
from pipeline.learning.curvature import Curvature
from pipeline.learning.learning import Learning
from pipeline.learning.statistics import SumsAcrossRanks
from pipeline.models.model import SequenceModel

KEPT = 0.95  # of the last solution, where conjugate gradients start
EXPONENT = 0.75  # of the preconditioner
DRAWS = 8  # of signs, for its diagonal
SUFFICIENT, SHORTER, TRIES = 0.01, 0.8, 60  # of the line search: part of the slope, factor on the rate, rates


class HessianFreeLearning(Learning):
    """theta <- theta + rate d, d about the minimum of q(d) = g . d + d^T (G + lambda I + lambda mu S) d / 2
    (Martens 2010; Martens & Sutskever 2011).

    g is the gradient of the mean loss f over a batch, G and S the Gauss-Newton matrix and that of the hidden units
    (pipeline.learning.curvature), means over `curvature_batch` sequences of it. Preconditioned conjugate gradients
    start from 0.95 times the last solution, or from 0 where that has q > 0; of the iterates that they keep, from the
    last one back, d is the one as far as the loss over these sequences does not rise. lambda follows the ratio of the
    fall of f to that of q without damping (Levenberg & Marquardt), and the rate is the first of 1, 0.8, 0.8^2, .. with
    f(theta + rate d) <= f(theta) + 0.01 rate g . d, or 0, as where g . d >= 0.

    network           a model whose parameters ask for gradients, and that draws no random numbers
    loss              "mean" over what a batch asks, or "sum" over its steps, mean over sequences
    damping           lambda at first
    structural        mu; 0: no structural damping
    cg_steps          of conjugate gradients, at most
    curvature_batch   sequences, evenly spaced in the batch, over all ranks together; their activities are all kept
                      while conjugate gradients run. None: the whole batch
    micro_batch       sequences of a rank of which the gradient and the loss are computed at once; None: all of them
    seed              of the preconditioner's signs
    """

    def __init__(
        self,
        network: SequenceModel,
        batches: Batches,
        loss: str,
        damping: float,
        structural: float,
        cg_steps: int,
        curvature_batch: int | None,
        micro_batch: int | None,
        seed: int,
    ):
        super().__init__(network, batches)
        self.loss, self.damping, self.structural, self.cg_steps = loss, damping, structural, cg_steps
        self.micro_batch, self.seed = micro_batch, seed
        count = curvature_batch or batches.batch
        self.chosen = torch.arange(count) * batches.batch // count  # sequences of the batch
        self.own = (self.chosen >= batches.own.start) & (self.chosen < batches.own.stop)
        self.parameters_ = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.solution = torch.zeros_like(parameters_to_vector(self.parameters_))
        self.trials: list[SequenceModel] = []  # the network's copy for other parameters; in a list, not to be saved

    def strategy(self, timeout: timedelta) -> Strategy:
        return SumsAcrossRanks(timeout=timeout)

    def learn(self, batch: Batch) -> None:
        carried = self.state
        self.enter(batch)
        before = self.state if self.state is carried else None
        loss, gradient = self._gradient(batch, before)
        with torch.no_grad():
            self._step(batch, before, loss, gradient)

    def _gradient(self, batch: Batch, before: State | None) -> tuple[float, Tensor]:
        """f and its gradient; the state goes on, and the loss is noted."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        gradient, states = torch.zeros_like(self.solution), []
        for part, state in self._micro_batches(batch, before):
            if state is None:
                state = self.network.start_of(part)
            loss, after = self.network.loss(part, state)
            found = torch.autograd.grad(loss, self.parameters_, materialize_grads=True)
            gradient += torch.cat([one.flatten() for one in found])
            total += loss.detach()
            states.append(tuple(one.detach() for one in after))
        self.state = tuple(torch.cat(parts, dim=1) for parts in zip(*states))
        self.record(total * self.trainer.world_size, batch.count)
        return (self._sum(total) / self._count(batch)).item(), self._sum(gradient) / self._count(batch)

    def _step(self, batch: Batch, before: State | None, f: float, gradient: Tensor) -> None:
        theta = parameters_to_vector(self.parameters_)
        own = (self.chosen[self.own] - self.batches.own.start).to(self.device)
        some, starts = batch.sequences(own), before and tuple(part[:, own] for part in before)
        asked = self._sum(self.network.answers.entries(some.targets).sum()).item()
        count = max(1, asked) if self.loss == "mean" else len(self.chosen)
        curvature = Curvature(self.network, some, starts, self.structural > 0) if len(own) else None

        def times(v: Tensor, structural: float = 0.0) -> Tensor:
            found = torch.zeros_like(v) if curvature is None else curvature.times(v, structural)
            return self._sum(found) / count

        def damped(v: Tensor) -> Tensor:
            return times(v, self.damping * self.structural) + self.damping * v

        diagonal = (self._squared_gradients(curvature) / count + self.damping) ** EXPONENT
        found = conjugate_gradient(damped, -gradient, KEPT * self.solution, diagonal, self.cg_steps)
        self.solution = found[-1].x

        step = backtracked(found, lambda d: self._loss_at(theta + d, some, starts) / count)
        slope = (gradient @ step).item()
        expected = slope + 0.5 * (step @ times(step)).item()
        whole = self._count(batch)
        at = lambda rate: self._loss_at(theta + rate * step, batch, before) / whole
        reached = at(1.0)
        self.damping *= damping_factor(reached - f, expected)
        rate = line_search(at, f, reached, slope)
        vector_to_parameters(theta + rate * step, self.parameters_)

    def _squared_gradients(self, curvature: Curvature | None) -> Tensor:
        """An estimate of sum_b (d loss_b / d theta)^2 over single sequences b of all ranks: with random signs s_b, a
        function of (seed, step), that is (sum_b s_b d loss_b / d theta)^2 on average."""
        generator = torch.Generator().manual_seed(((self.seed << 40) + self.global_step) % 2**63)
        total = torch.zeros_like(self.solution)
        for _ in range(DRAWS):
            signs = 2 * torch.randint(2, (len(self.chosen),), generator=generator) - 1
            own = signs[self.own].to(self.device, self.network.dtype)
            found = torch.zeros_like(total) if curvature is None else curvature.signed_gradient(own)
            total += self._sum(found).square()
        return total / DRAWS

    def _micro_batches(self, batch: Batch, before: State | None) -> Iterator[tuple[Batch, State | None]]:
        for some in torch.arange(batch.inputs.shape[1], device=self.device).split(
            self.micro_batch or self.batches.batch
        ):
            yield batch.sequences(some), before and tuple(part[:, some] for part in before)

    def _count(self, batch: Batch) -> int:
        return max(1, batch.count) if self.loss == "mean" else self.batches.batch

    def _loss_at(self, theta: Tensor, batch: Batch, before: State | None) -> float:
        """The sum over all ranks' shares of a batch, of a network with these parameters."""
        if not self.trials:
            self.trials.append(copy.deepcopy(self.network))
        [network] = self.trials
        vector_to_parameters(theta, [parameter for parameter in network.parameters() if parameter.requires_grad])
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part, state in self._micro_batches(batch, before):
            state = network.start_of(part) if state is None else state
            total += network.loss(part, state)[0]
        return self._sum(total).item()

    def _sum(self, part: Tensor) -> Tensor:
        """Over all ranks."""
        if self.trainer.world_size == 1:
            return part
        return self.trainer.strategy.reduce(part.clone(), reduce_op="sum")

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["hessian_free"] = (self.damping, self.solution)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        super().on_load_checkpoint(checkpoint)
        self.damping, self.solution = checkpoint["hessian_free"]

    def on_train_start(self) -> None:
        super().on_train_start()
        self.solution = self.solution.to(self.device)


def backtracked(iterates: list[Iterate], loss: Callable[[Tensor], float]) -> Tensor:
    """From the last iterate back, as far as the loss does not rise: what is not finite is above all else."""
    best, *earlier = reversed(iterates)
    least = loss(best.x)
    for one in earlier:
        found = loss(one.x)
        if found > least:
            break
        if found <= least or not math.isfinite(least):
            best, least = one, found
    return best.x


def damping_factor(change: float, expected: float) -> float:
    """On lambda, by the ratio of the change of the loss to that of its model, both below 0 in a good step: 3/2 for a
    ratio below 1/4, 2/3 for one above 3/4 (Martens 2010, section 4.1), 1 where nothing was to change."""
    if expected == 0:
        return 1.0
    ratio = change / expected if change < 0 else -math.inf
    if not ratio >= 1 / 4:
        return 3 / 2
    return 2 / 3 if ratio > 3 / 4 else 1.0


def line_search(loss: Callable[[float], float], before: float, at_one: float, slope: float) -> float:
    """The first rate of 1, 0.8, 0.8^2, .. at which the loss falls by 0.01 of what its slope says, at least; 0 where
    none of 60 does, or the slope is not downhill."""
    rate, found = 1.0, at_one
    for _ in range(TRIES if slope < 0 else 0):
        if found <= before + SUFFICIENT * rate * slope:
            return rate
        rate *= SHORTER
        found = loss(rate)
    return 0.0
