"""Power laws with an offset, fitted to a loss at several sizes, and where two of them meet."""

import math
from collections.abc import Sequence
from typing import NamedTuple

FEWEST = 4  # sizes: a curve has three parameters
EXPONENTS = (0.01, 3.0)  # b of fitted curves
PLACES = 2000  # on a logarithmic axis, between which signs are compared


class PowerLaw(NamedTuple):
    """L(N) = L_oo + a N^-b (Hestness et al. 2017, eq. 1): the loss of a model that learned from N elements.

    limit     L_oo >= 0, which no amount of data betters
    scale     a >= 0
    exponent  b > 0
    """

    limit: float
    scale: float
    exponent: float

    def at(self, size: float) -> float:
        """L(N)."""
        return self.limit + self.scale * size**-self.exponent

    def fall(self, size: float) -> float:
        """L(N) - L(10 N): what ten times as much data would bring."""
        return self.at(size) - self.at(10 * size)

    def size_for(self, loss: float) -> float:
        """The N with L(N) = loss; infinite where no N has."""
        if loss <= self.limit or not self.scale:
            return math.inf
        return (self.scale / (loss - self.limit)) ** (1 / self.exponent)


def fit(sizes: Sequence[float], losses: Sequence[float]) -> PowerLaw | None:
    """The least-squares fit to losses that are relative to their size, sum_i (L(N_i) / L_i - 1)^2; None for fewer than
    four different sizes.

    At every exponent b the best L_oo and a, none below 0, follow by linear least squares; b in 0.01..3 is searched.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar, nnls

    if len(set(sizes)) < FEWEST:
        return None
    N, L = np.asarray(sizes, float), np.asarray(losses, float)
    unit = np.exp(np.log(N).mean())  # in which sizes are near 1, so that both columns are of one size

    def at(log_exponent: float) -> tuple[np.ndarray, float]:
        columns = np.stack([np.ones_like(N), (N / unit) ** -math.exp(log_exponent)], axis=1)
        return nnls(columns / L[:, None], np.ones_like(L))

    grid = np.linspace(*map(math.log, EXPONENTS), 60)
    best = int(np.argmin([at(one)[1] for one in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(lambda one: at(one)[1], bounds=bounds, method="bounded", options={"xatol": 1e-10})
    (limit, scale), _ = at(found.x)
    exponent = math.exp(found.x)
    return PowerLaw(float(limit), float(scale * unit**exponent), exponent)


def crossings(one: PowerLaw, other: PowerLaw, least: float, most: float) -> list[float]:
    """The N in least..most at which the losses of two curves are the same, ascending: two at most."""
    import numpy as np
    from scipy.optimize import brentq

    def gap(log_size: float) -> float:
        return one.at(math.exp(log_size)) - other.at(math.exp(log_size))

    places = np.linspace(math.log(least), math.log(most), PLACES)
    signs = np.sign([gap(place) for place in places])
    turns = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    found = [brentq(gap, places[turn], places[turn + 1], xtol=1e-12) for turn in turns]
    return sorted(math.exp(place) for place in [*found, *places[(signs == 0) & ~np.roll(signs == 0, 1)]])
