"""What the states of a hidden Markov model emit: symbols, or vectors of reals.

Shapes: R any number of observations, N states, V symbols, D observed values.

Both kinds tell p(x | z) as a ratio to that of the likeliest state, so that nothing underflows where all states find x
unlikely, and learn from expected counts. An observation that is missing (symbol V, or a vector that is not finite) has
p(x | z) = 1 in every state.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOOR = 1e-7  # least probability of anything that is learned: 16 nats
LEAST = -1e300  # least log-density, in place of -inf
CONSTANT = 1e-14  # a series whose variance is this part of its mean square is constant up to rounding

Likelihood = Callable[[Tensor, Tensor, Tensor | None], None]  # as `relative`, from observations


def proportions(counts: Tensor, smoothing: float, before: Tensor) -> Tensor:
    """(counts + smoothing) / their sum over the last dimension, no entry below FLOOR;
    `before` where that sum is 0. float64."""
    weights = counts + smoothing
    total = weights.sum(-1, keepdim=True)
    kept = torch.where(total > 0, weights / total, before.double()).clamp(min=FLOOR)
    return kept / kept.sum(-1, keepdim=True)


def draw_proportions(*shape: int) -> Tensor:
    """Uniform over all distributions in the last dimension (Dirichlet with ones), from torch's global generator;
    no entry below FLOOR."""
    drawn = torch.empty(shape, dtype=torch.float64).exponential_()
    return proportions(drawn, 0.0, drawn)


def relative(log_RN: Tensor, ratio_RW: Tensor, top_R: Tensor | None) -> None:
    """Log-likelihoods -> in `ratio` likelihoods over the largest one, zeros beyond the N states;
    in `top`, if given, the largest one's log."""
    top_R1 = log_RN.amax(-1, keepdim=True)
    ratio_RW[..., : log_RN.shape[-1]] = (log_RN - top_R1).exp()
    ratio_RW[..., log_RN.shape[-1] :] = 0
    if top_R is not None:
        top_R.copy_(top_R1[..., 0])


class Categorical(nn.Module):
    """p(x = v | z = j) = probability[j, v]; N (V - 1) free numbers. Drawn uniformly among all distributions."""

    placed = True  # can be learned from the first pass on

    def __init__(self, states: int, symbols: int):
        super().__init__()
        self.symbols = symbols
        self.probability = nn.Parameter(draw_proportions(states, symbols), requires_grad=False)

    def observed(self, x: Tensor) -> Tensor:
        """Whether x is a symbol, not V."""
        return x != self.symbols

    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(x | z): symbols [R] -> [R, N]."""
        return F.embedding(x, F.pad(self.probability.double().log().t(), (0, 0, 0, 1)))

    def table(self, dtype: torch.dtype, width: int) -> tuple[Tensor, Tensor]:
        """What `relative` makes of each symbol and a missing one: [V + 1, width], [V + 1] float64."""
        log_VN = self.log_likelihood(torch.arange(self.symbols + 1, device=self.probability.device))
        ratios, tops = log_VN.new_empty(len(log_VN), width, dtype=dtype), log_VN.new_empty(len(log_VN))
        relative(log_VN, ratios, tops)
        return ratios, tops

    def likelihood(self, dtype: torch.dtype, width: int) -> Likelihood:
        """(x, ratio, top) -> relative(log_likelihood(x), ratio, top), looked up."""
        ratios, tops = self.table(dtype, width)

        def look_up(x: Tensor, ratio: Tensor, top: Tensor | None) -> None:
            torch.index_select(ratios, 0, x.flatten(), out=ratio.view(-1, width))
            if top is not None:
                torch.index_select(tops, 0, x.flatten(), out=top.view(-1))

        return look_up

    def predict(self, states_RN: Tensor) -> Tensor:
        """log p(x = v) [R, V] where the state has these probabilities; never below log FLOOR."""
        return (states_RN @ self.probability.double()).log()

    def draw(self, z: Tensor, generator: torch.Generator | None) -> Tensor:
        """x ~ p(x | z): states [R] -> symbols [R]."""
        return torch.multinomial(self.probability[z], 1, generator=generator)[:, 0]

    def zero_statistics(self) -> dict[str, Tensor]:
        """emitted [V, N], expected number of times that state j emitted v."""
        return {"emitted": torch.zeros(self.probability.t().shape, dtype=torch.float64, device=self.probability.device)}

    def count(self, statistics: dict[str, Tensor], x: Tensor, posterior: Tensor) -> None:
        """Adds symbols [R] that were emitted by states of these probabilities [R, N or more]."""
        # torch adds rows of 16 numbers in half the time of rows of 12.
        rows = F.pad(posterior, (0, max(0, 16 - posterior.shape[-1])))
        sums = rows.new_zeros(self.symbols + 1, rows.shape[-1]).index_add_(0, x, rows)
        statistics["emitted"] += sums[:-1, : len(self.probability)]

    def update(self, statistics: dict[str, Tensor], smoothing: float) -> None:
        """Expected proportions, `smoothing` added to every count:
        the maximum under a Dirichlet prior with 1 + smoothing."""
        self.probability.copy_(proportions(statistics["emitted"].t(), smoothing, self.probability))


class Gaussian(nn.Module):
    """p(x | z = j) = N(x; mean_j, covariance_j), full covariances; N (D + D (D + 1) / 2) free numbers.

    floor  least eigenvalue of a covariance, as part of the series' mean variance over channels;
           of 1 where the series is constant

    What the series' units are is not known before it is seen: means ~ N(0, I) and covariances I are drawn in standard
    units, and the first update places them, mean_j <- m + L mean_j, covariance_j <- S for the series' mean m and
    covariance S = L L^T. From then on it learns.
    """

    def __init__(self, states: int, observed: int, floor: float):
        super().__init__()
        self.dimension, self.floor = observed, floor
        self.mean = nn.Parameter(torch.randn(states, observed, dtype=torch.float64), requires_grad=False)
        self.covariance = nn.Parameter(
            torch.eye(observed, dtype=torch.float64).repeat(states, 1, 1), requires_grad=False
        )
        self.register_buffer("placed", torch.tensor(False))

    def observed(self, x: Tensor) -> Tensor:
        """Whether all of x is finite: [R, D] -> [R]."""
        return x.isfinite().all(-1)

    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(x | z): [R, D] -> [R, N]."""
        return self._log_likelihood(x, torch.linalg.cholesky(self.covariance.double()))

    def likelihood(self, dtype: torch.dtype, width: int) -> Likelihood:
        """(x, ratio, top) -> relative(log_likelihood(x), ratio, top)."""
        roots = torch.linalg.cholesky(self.covariance.double())
        return lambda x, ratio, top: relative(self._log_likelihood(x, roots), ratio, top)

    def _log_likelihood(self, x: Tensor, roots_NDD: Tensor) -> Tensor:
        observed = self.observed(x)[..., None]
        apart = torch.where(observed, x, 0.0).double()[..., None, :] - self.mean.double()
        flat_NDR = apart.flatten(0, -3).permute(1, 2, 0)
        squares = (
            torch.linalg.solve_triangular(roots_NDD, flat_NDR, upper=False)
            .square()
            .sum(1)
            .t()
            .reshape(apart.shape[:-1])
        )
        log_roots = roots_NDD.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log = -0.5 * squares - log_roots - 0.5 * self.dimension * math.log(2 * math.pi)
        return torch.where(observed, torch.nan_to_num(log, nan=LEAST, neginf=LEAST), 0.0)

    def predict(self, states_RN: Tensor) -> Tensor:
        """E[x] [R, D] where the state has these probabilities."""
        return states_RN @ self.mean.double()

    def draw(self, z: Tensor, generator: torch.Generator | None) -> Tensor:
        """x ~ p(x | z): states [R] -> [R, D]."""
        standard = torch.randn(len(z), self.dimension, 1, dtype=torch.float64, device=z.device, generator=generator)
        return self.mean.double()[z] + (torch.linalg.cholesky(self.covariance.double())[z] @ standard)[..., 0]

    def zero_statistics(self) -> dict[str, Tensor]:
        """weight [N], first [N, D], second [N, D, D]: expected sums of 1, d, d d^T over what state j emitted,
        d = x - the mean of the means."""
        states, D = self.mean.shape
        return {
            name: torch.zeros(shape, dtype=torch.float64, device=self.mean.device)
            for name, shape in (("weight", (states,)), ("first", (states, D)), ("second", (states, D, D)))
        }

    def count(self, statistics: dict[str, Tensor], x: Tensor, posterior: Tensor) -> None:
        """Adds vectors [R, D] that were emitted by states of these probabilities [R, N or more]."""
        observed = self.observed(x)[:, None]
        weights_NR = torch.where(observed, posterior[:, : len(self.mean)].double(), 0.0).t()
        d = torch.where(observed, x.double() - self._center(), 0.0)
        statistics["weight"] += weights_NR.sum(1)
        statistics["first"] += weights_NR @ d
        statistics["second"] += (weights_NR @ (d[:, :, None] * d[:, None]).flatten(1)).view_as(statistics["second"])

    def _center(self) -> Tensor:
        return self.mean.double().mean(0)

    def update(self, statistics: dict[str, Tensor], smoothing: float) -> None:
        """Weighted means and covariances, `smoothing` observations added to every state's that are spread as the whole
        series is (a normal-inverse-Wishart prior); eigenvalues below the floor are raised to it, the maximum of the
        likelihood under that constraint. Nothing observed changes nothing.
        """
        weight, first, second = statistics["weight"], statistics["first"], statistics["second"]
        total = weight.sum()
        if total == 0:
            return
        center, m = self._center(), first.sum(0) / total
        S = second.sum(0) / total - m[:, None] * m
        variance = S.diagonal().mean()
        constant = variance <= CONSTANT * (variance + (center + m).square().mean())
        least = self.floor * torch.where(constant, 1.0, variance)
        S = _raised(S, least)
        if not self.placed:
            self.mean.copy_(center + m + self.mean.double() @ torch.linalg.cholesky(S).t())
            self.covariance.copy_(S.expand_as(self.covariance))
            self.placed.fill_(True)
            return
        weight = (weight + smoothing)[:, None]
        mean = (first + smoothing * m) / weight
        covariance = (second + smoothing * (S + m[:, None] * m)) / weight[..., None] - mean[:, :, None] * mean[:, None]
        some = weight > 0
        self.mean.copy_(torch.where(some, center + mean, self.mean))
        self.covariance.copy_(
            torch.where(some[..., None], _raised(torch.where(some[..., None], covariance, S), least), self.covariance)
        )


def _raised(symmetric: Tensor, least: Tensor) -> Tensor:
    """With eigenvalues of at least `least`: [..., D, D]."""
    values, vectors = torch.linalg.eigh((symmetric + symmetric.mT) / 2)
    return vectors * values.clamp(min=least)[..., None, :] @ vectors.mT
