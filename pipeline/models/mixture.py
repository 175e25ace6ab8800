"""Averages of models (Mikolov et al. 2011)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.command.setting import Called
from pipeline.datasets.batch import Batch
from pipeline.datasets.space import Space, Symbols
from pipeline.models.model import SequenceModel
from pipeline.models.of_runs import OfRuns, at_targets, mixing_weights

NEWTON = 6  # steps: from equal weights they come to where the last digits alone move


class Mixture(OfRuns):
    """linear:      p(x) = sum_k w_k p_k(x), w_k >= 0, sum_k w_k = 1  (Jelinek & Mercer 1980; Mikolov et al. 2011);
    log_linear:  p(x) = prod_k p_k(x)^{w_k} / sum_v prod_k p_k(v)^{w_k}, any w_k  (Hinton 2002's product of experts with
                 a weight each).

    members  K finished runs on the same data
    average  linear or log_linear
    Parameters: weights [K], at first 1/K each. Linear ones are learned by EM from the probability that each member
    gives to each symbol of the validation part, in one pass; log-linear ones by Newton's method, a step a pass, as the
    loss is convex in them: with l_k = log p_k and expectations under p,
    dL/dw_k = sum_t E[l_k] - l_k(y_t),  d2L/dw_j dw_k = sum_t Cov[l_j, l_k].
    The loss is in nats a symbol, that of the linear mixture never above sum_k w_k times the members'. The state: the
    members' states.
    """

    def __init__(
        self,
        reads: Space,
        answers: Symbols,
        given: tuple[Space, ...],
        members: Annotated[list[str], Called("a list of finished runs, as [RUN,RUN]")],
        average: Literal["linear", "log_linear"],
        networks: Sequence[SequenceModel] = (),
    ):
        super().__init__(reads, answers, given, networks)
        self.linear = average == "linear"
        self.weights = nn.Parameter(torch.full((len(networks),), 1 / len(networks)), requires_grad=False)

    @classmethod
    def passes(cls, settings: Mapping) -> int:
        return 1 if settings["average"] == "linear" else NEWTON

    def start(self, batch: int, *given: Tensor) -> State:
        return self.starts(batch, *given)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        log_p, state = self.answer(x, state)
        return self._average(log_p), state

    def _average(self, log_p: Tensor) -> Tensor:
        """[K, T, B, V] -> [T, B, V]."""
        weights = self.weights[:, None, None, None]
        if self.linear:
            return torch.logsumexp(log_p + weights.log(), dim=0)
        return torch.log_softmax((weights * log_p).sum(0), dim=-1)

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        """linear: the members' probabilities of each target, up to a factor; zeros where nothing is asked. log_linear:
        the loss's gradient and Hessian."""
        count = len(self.networks)
        shapes = {"likelihoods": (elements, count)} if self.linear else {"gradient": (count,), "hessian": (count,) * 2}
        return {name: torch.zeros(shape, dtype=torch.float64, device=self.device) for name, shape in shapes.items()}

    @torch.no_grad()
    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        log_p, state = self.answer(batch.inputs, state)
        z, asked = self._average(log_p), self.answers.asked(batch.targets)
        of_targets = at_targets(log_p, batch.targets)[:, asked].double()  # [K, N]
        if self.linear:
            scaled = (of_targets - of_targets.max(0).values).exp()
            statistics["likelihoods"].index_add_(0, batch.positions[asked], scaled.t())
        else:
            p, l = z[asked].double().exp(), log_p[:, asked].double()  # [N, V], [K, N, V]
            mean = (p * l).sum(-1)  # [K, N]
            centred = l - mean[..., None]
            statistics["gradient"] += (mean - of_targets).sum(1)
            statistics["hessian"] += torch.einsum("nv,jnv,knv->jk", p, centred, centred)
        return state, self.answers.loss(z.double(), batch.targets)

    @torch.no_grad()
    def update(self, statistics: dict[str, Tensor]) -> None:
        if self.linear:
            likelihoods = statistics["likelihoods"]
            self.weights.copy_(mixing_weights(likelihoods[likelihoods.sum(1) > 0]))
        else:  # members that say the same share what one of them would have
            self.weights -= (torch.linalg.pinv(statistics["hessian"]) @ statistics["gradient"]).to(self.weights.dtype)
