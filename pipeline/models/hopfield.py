"""Hopfield network: patterns stored in one pass as the sum of their outer products.

Shapes: T time, B batch, N units, P patterns.
"""

import torch
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import Data
from pipeline.datasets.space import Bits, Reals, Space
from pipeline.models.model import StatisticsModel


class Hopfield(StatisticsModel):
    """W = 1/N sum_p xi^p xi^p^T with a zero diagonal, over the P distinct patterns xi = +-1 that a pass asks for. A
    step of time updates every unit once, asynchronously and in their order: s_i <- sign(sum_j W_ij s_j), as it is where
    the sum is 0; so the energy E = -1/2 s^T W s never rises, and the network comes to rest (Hopfield 1982). It starts
    at what is given, and reads nothing. With P above about 0.138 N random patterns of N -> infinity units none is
    recalled (Amit, Gutfreund & Sompolinsky 1985).

    Predictions: z_i = 2 sum_j W_ij s_j, so that sigmoid(z_i) is what the unit would be 1 with at temperature 1.
    Learned by counting: the statistic is the pattern asked at each position of the pass, int8 [positions, N]. W [N, N]
    is zero at first. The state: s [1, B, N].
    """

    learned_by = ("count",)

    def __init__(self, reads: Space, answers: Bits, given: tuple[Space, ...]):
        super().__init__(reads, answers, given)
        self.weight = nn.Parameter(torch.zeros(answers.width, answers.width), requires_grad=False)

    @classmethod
    def fits(cls, data: Data) -> str | None:
        answers, given = data.answers, data.given
        if not (isinstance(answers, Bits) and len(given) == 1 and given == (Reals(answers.width),)):
            return "recalls patterns of which it is given something like them: take data=attractors"
        return None

    def count_parameters(self) -> int:
        """The weights between two units: N (N - 1) / 2."""
        units = len(self.weight)
        return units * (units - 1) // 2

    def start(self, batch: int, given: Tensor) -> State:
        return (given[None],)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        s = state[0][0].clone()
        fields = []
        for _ in range(len(x)):
            s = self.updated(s)
            fields.append(s @ self.weight)
        return 2 * torch.stack(fields), (s[None],)

    def updated(self, s: Tensor) -> Tensor:
        """Every unit once, one after the other: [B, N] -> [B, N]."""
        units_NB = s.t().clone()
        for unit, weights in zip(units_NB, self.weight):
            field = weights @ units_NB
            unit.copy_(torch.where(field == 0, unit, field.sign()))
        return units_NB.t()

    def energy(self, s: Tensor) -> Tensor:
        """E of states [B, N] -> [B]."""
        return -0.5 * ((s @ self.weight) * s).sum(-1)

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        return {"patterns": torch.zeros(elements, len(self.weight), dtype=torch.int8, device=self.device)}

    @torch.no_grad()
    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        asked = self.answers.asked(batch.targets)
        patterns = (2 * batch.targets[asked] - 1).nan_to_num().to(torch.int8)
        statistics["patterns"].index_add_(0, batch.positions[asked], patterns)
        z, state = self(batch.inputs, state)
        return state, self.answers.loss(z, batch.targets)

    @torch.no_grad()
    def update(self, statistics: dict[str, Tensor]) -> None:
        patterns = statistics["patterns"]
        patterns = patterns[patterns.any(1)].unique(dim=0).to(self.dtype)
        self.weight.copy_(patterns.t() @ patterns / len(self.weight))
        self.weight.fill_diagonal_(0.0)
