"""What models have in common that are made of finished runs."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.cells.cell import State
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import Data
from pipeline.datasets.space import Space, Symbols
from pipeline.models.model import SequenceModel, StatisticsModel, reads_and_foretells


class OfRuns(StatisticsModel):
    """A model whose members are the networks of finished runs, as these left them: no learning changes their
    parameters, and they are always in evaluation mode. They are saved with the model, which goes on when their runs are
    gone. What it has to learn besides is found on the validation part, of which the members have learned nothing.

    networks  of the runs, all with the same answers, symbols
    """

    learned_by = ("held_out",)

    def __init__(self, reads: Space, answers: Space, given: tuple[Space, ...], networks: Sequence[SequenceModel]):
        super().__init__(reads, answers, given)
        self.networks = nn.ModuleList(networks)
        nothing = [space.zero(1) for space in given]
        self.parts = [
            len(network.start(1, *(one.to(network.dtype) for one in nothing))) for network in networks
        ]  # of each member's state

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if not isinstance(data.answers, Symbols):
            return "weighs probabilities of symbols, not numbers: take data=shakespeare or another text"
        return None

    @classmethod
    def passes(cls, settings: Mapping) -> int:
        """Over the validation part, that it takes to learn."""
        return 1

    def train(self, mode: bool = True) -> "OfRuns":
        super().train(mode)
        self.networks.eval()
        return self

    def run_on(self, device: str, engine: str = "auto", operations: float = 0.0, seconds: float | None = None) -> str:
        said = [network.run_on(device, engine, operations, seconds) for network in self.networks]
        return ", ".join(dict.fromkeys(filter(None, said)))

    def count_parameters(self) -> int:
        own = sum(parameter.numel() for parameter in self.parameters(recurse=False))
        return own + sum(network.count_parameters() for network in self.networks)

    def starts(self, batch: int, *given: Tensor) -> State:
        """The members' states before the first element, one after the other."""
        return tuple(part for network in self.networks for part in network.start(batch, *given))

    @torch.no_grad()
    def answer(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, State]:
        """The members' log-probabilities [K, T, B, V], and their states after."""
        found, after = [], []
        for network, own in zip(self.networks, torch.arange(len(state)).split(self.parts), strict=True):
            z, new = network(x, tuple(state[part] for part in own))
            found.append(torch.log_softmax(z, dim=-1))
            after += new
        return torch.stack(found), tuple(after)

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        return {}

    @torch.no_grad()
    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        z, state = self(batch.inputs, state)
        return state, self.answers.loss(z.double(), batch.targets)


class OfOneRun(OfRuns):
    """One that goes on learning from what it has read, and so needs answers that are the next element."""

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if not reads_and_foretells(data, Symbols):
            return "learns from the symbols that it has read which come next: take data=shakespeare or another text"
        return super(OfRuns, cls).fits(data)

    @property
    def network(self) -> SequenceModel:
        return self.networks[0]


def at_targets(log_p: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities [.., T, B, V] of the targets [T, B] -> [.., T, B]; of those that are not asked, of symbol 0."""
    asked = targets.where(targets < log_p.shape[-1], 0)
    return log_p.gather(-1, asked.expand(log_p.shape[:-1])[..., None])[..., 0]


def mixing_weights(likelihoods: Tensor, tolerance: float = 1e-9, most: int = 2000) -> Tensor:
    """w >= 0, sum_k w_k = 1, that maximize sum_n log sum_k w_k L_nk, by expectation-maximization from equal ones
    (Dempster, Laird & Rubin 1977): r_nk = w_k L_nk / sum_j w_j L_nj, w_k = mean_n r_nk.

    likelihoods  [N, K] >= 0, each row up to a factor and with a number above 0
    It ends where no weight moves by more than `tolerance`, or after so many steps.
    """
    weights = torch.full_like(likelihoods[0], 1 / likelihoods.shape[1])
    for _ in range(most):
        before = weights
        joint = likelihoods * weights
        weights = (joint / joint.sum(1, keepdim=True)).mean(0)
        if (weights - before).abs().max() <= tolerance:
            break
    return weights
