"""Backpropagation through small random networks, by hand: what the lecture shows before any network is trained.

Shapes: T steps, H units, N networks.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def rectifier_norms(
    units: int, steps: int, radius: float, draws: int, seed: int, rectified: bool = True
) -> "np.ndarray":
    """|dL/dh_{T-n}| / |dL/dh_T| for n = 0 .. T, [N, T + 1], of networks of `units` units that read nothing:
    h_t = max(0, W h_{t-1}); dL/dh_{t-1} = W^T (dL/dh_t * (h_t > 0)), from a random h_0 and a random dL/dh_T.

    radius     largest absolute value among the eigenvalues of W, whose entries are normal before it is scaled to that
    draws      N; with the same seed they differ by `radius` alone
    rectified  false: h_t = W h_{t-1}
    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"; code of CS231n 2016,
    lecture 10.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    W = rng.standard_normal((draws, units, units))
    W *= radius / np.abs(np.linalg.eigvals(W)).max(axis=1)[:, None, None]
    h, passed = rng.standard_normal((draws, units, 1)), []
    for _ in range(steps):
        sums = W @ h
        passed.append(sums > 0 if rectified else np.ones_like(sums))
        h = sums * passed[-1]
    dh = rng.standard_normal((draws, units, 1))
    norms = [np.linalg.norm(dh, axis=1)]
    for mask in reversed(passed):
        dh = W.swapaxes(1, 2) @ (dh * mask)
        norms.append(np.linalg.norm(dh, axis=1))
    return np.concatenate(norms, axis=1) / norms[0]


def squashing(units: int, steps: int, factors: list[float], seed: int) -> tuple[list[float], list[float]]:
    """Of h_t = tanh(W h_{t-1} + x_t), W ~ N(0, 1/H), x_t ~ N(0, 1), h_0 = 0: |h_T| when every input is multiplied by a
    factor, and |dL/dh_0| when the error dL/dh_T is, at unchanged inputs; both relative to factor 1."""
    import numpy as np

    rng = np.random.default_rng(seed)
    W = rng.standard_normal((units, units)) / np.sqrt(units)
    x, error = rng.standard_normal((steps, units)), rng.standard_normal(units)

    def forward(factor: float) -> list[np.ndarray]:
        h = [np.zeros(units)]
        for x_t in x:
            h.append(np.tanh(W @ h[-1] + factor * x_t))
        return h

    def backward(factor: float) -> np.ndarray:
        dh = factor * error
        for h_t in reversed(forward(1.0)[1:]):
            dh = W.T @ (dh * (1 - h_t**2))
        return dh

    def relative(of) -> list[float]:
        one = np.linalg.norm(of(1.0))
        return [float(np.linalg.norm(of(factor)) / one) for factor in factors]

    return relative(lambda factor: forward(factor)[-1]), relative(backward)
