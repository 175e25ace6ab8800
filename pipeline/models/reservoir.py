"""A random recurrent network that is driven, not learned.

Shapes: N units, I inputs, K connections a unit has, C steps of a chunk, B batch.
"""

import math
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.sparse.linalg import ArpackError, eigs
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.command.refusal import Refusal
from pipeline.models import echo_state_compiled

LARGEST_DENSE = 1500  # units up to which all eigenvalues are computed: seconds; above, the largest ones alone
RESTARTS = 300  # of ARPACK, at most: random reservoirs of up to 10,000 units take about 50
LARGEST_RESORT = 4000  # units up to which all are computed where ARPACK has not found the largest: under a minute
FEW_STREAMS = 16  # below, scipy's sparse product is faster than torch's embedding bag


class Reservoir(nn.Module):
    """x_{t+1} = (1 - a) x_t + a tanh(W x_t + W_in v_t + b)
    (Jaeger 2001; with the leak, Lukosevicius 2012, equations 2 and 3)

    units            N >= 1
    input_scales     of each of the I columns of W_in, uniform in +-scale
    spectral_radius  max |eigenvalue| of W, >= 0
    connectivity     part of W that is not 0: every unit hears K = round(connectivity N) >= 1 others or itself,
                     with normal weights
    leak             a in (0, 1]
    bias_scale       b uniform in +-bias_scale
    Buffers: W in compressed rows, row_starts [N + 1], columns [N K], weights [N K]; input_weight [N, I], bias [N]. All
    drawn from torch's global generator, and float64 until the module is given another type: the spectral radius is
    exact to that. They are read in the states' type.
    """

    def __init__(
        self,
        units: int,
        input_scales: list[float],
        spectral_radius: float,
        connectivity: float,
        leak: float,
        bias_scale: float,
    ):
        super().__init__()
        connections = round(connectivity * units)
        if not connections:
            raise Refusal(
                f"model.connectivity={connectivity}: gives {connections} connections to each of model.units={units}: "
                f"take {1 / units:.2g} to 1"
            )
        self.units, self.leak = units, leak
        columns = torch.stack([torch.randperm(units)[:connections].sort().values for _ in range(units)])
        weights = torch.randn(units, connections, dtype=torch.float64)
        self.register_buffer("row_starts", torch.arange(0, columns.numel() + 1, connections))
        self.register_buffer("columns", columns.flatten())
        self.register_buffer("weights", weights.flatten())
        self.register_buffer(
            "input_weight",
            (2 * torch.rand(units, len(input_scales), dtype=torch.float64) - 1) * torch.tensor(input_scales),
        )
        self.register_buffer("bias", (2 * torch.rand(units, dtype=torch.float64) - 1) * bias_scale)
        self.weights *= spectral_radius / radius_to_scale(self.matrix())

    def matrix(self) -> sparse.csr_array:
        """W."""
        return sparse.csr_array(
            (self.weights.cpu().numpy(), self.columns.cpu().numpy(), self.row_starts.cpu().numpy()),
            shape=(self.units, self.units),
        )

    def drive(self, v: Tensor, x: Tensor, seen: Tensor) -> Tensor:
        """What is read in C steps, [C, B, I], or symbols [C, B] in the place of their unit vectors (I and more: zero),
        and the state before it [N, B] -> the state after. The states after each step are written to `seen` [C, B, N],
        in float64."""
        input_weight, bias = self.input_weight.to(x.dtype), self.bias.to(x.dtype)
        if x.is_cpu and echo_state_compiled.library():
            matrices = self.columns, self.weights.to(x.dtype), input_weight, bias
            return echo_state_compiled.drive(matrices, self.leak, v, x, seen)
        inputs, product = _projected(v, input_weight, bias), self._product(x)
        for added in inputs:
            added += product(x)
            x = torch.lerp(x, tanh_(added), self.leak, out=added)
        seen.copy_(inputs.transpose(1, 2))
        return x.clone()

    def _product(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """x -> W x for states like this one. Single precision sums faster by the embedding bag's kernel,
        but for few streams."""
        weights = self.weights.to(like.dtype)
        if like.is_cpu and (like.dtype == torch.float64 or like.shape[1] < FEW_STREAMS):
            matrix = sparse.csr_array(
                (weights.numpy(), self.columns.numpy(), self.row_starts.numpy()), shape=(self.units, self.units)
            )
            return lambda x: torch.from_numpy(matrix @ x.numpy())
        return lambda x: F.embedding_bag(
            self.columns, x, self.row_starts, mode="sum", per_sample_weights=weights, include_last_offset=True
        )


def _projected(v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W_in v + b, [C, N, B]."""
    if not v.is_floating_point():
        return F.embedding(v, F.pad(weight.T, (0, 0, 0, 1)) + bias).transpose(1, 2).contiguous()
    if v.shape[1] == 1:  # C products of one column each are slow
        return F.linear(v, weight, bias).transpose(1, 2)
    return torch.matmul(weight, v.transpose(1, 2)).add_(bias[:, None])


def tanh_(x: Tensor) -> Tensor:
    """tanh in place. On a CPU by numpy, which has it vectorized in full:
    2 (double) to 8 times (single precision) as fast as torch 2.14."""
    if not x.is_cpu:
        return x.tanh_()
    array = x.numpy()
    np.tanh(array, out=array)
    return x


def spectral_radius(matrix: sparse.csr_array, largest_dense: int = LARGEST_DENSE) -> float:
    """max |eigenvalue| of a square matrix, the same at every call;
    exactly 0 where no chain of connections comes back to where it began.

    A matrix has the eigenvalues of its strongly connected parts. Those of up to `largest_dense` units are computed in
    full (LAPACK); of larger ones the largest by ARPACK from a fixed start,
    kept if |W v - lambda v| <= 1e-10 |lambda| |v|, else in full too. Raises Refusal where that would take too long: the
    largest eigenvalues of more than LARGEST_RESORT units are too nearly alike.
    """
    matrix = sparse.csr_array(matrix, dtype=np.float64, copy=True)
    matrix.eliminate_zeros()
    parts, part_of = connected_components(matrix, connection="strong")
    sizes = np.bincount(part_of, minlength=parts)
    radius = max(abs(matrix.diagonal()[sizes[part_of] == 1]), default=0.0)
    for part in np.flatnonzero(sizes > 1):
        inside = part_of == part
        radius = max(radius, _largest_eigenvalue(matrix[inside][:, inside], largest_dense))
    return float(radius)


def _largest_eigenvalue(matrix: sparse.csr_array, largest_dense: int) -> float:
    """That of a strongly connected matrix."""
    units = matrix.shape[0]
    if units > largest_dense:
        steps, period = _cycles(matrix)
        if period > 1:
            return _around(matrix, steps % period, period, largest_dense)
        try:
            found, vectors = eigs(matrix, k=8, ncv=100, v0=np.cos(np.arange(units)), tol=0, maxiter=RESTARTS)
        except ArpackError:
            found = np.zeros(1)
        largest = np.argmax(abs(found))
        if found[largest] and np.linalg.norm(
            matrix @ vectors[:, largest] - found[largest] * vectors[:, largest]
        ) <= 1e-10 * abs(found[largest]):
            return abs(found[largest])
        if units > LARGEST_RESORT:
            raise Refusal(
                f"the reservoir's matrix of {units} units: its largest eigenvalues are too nearly alike for its "
                f"spectral radius to be found: take another seed, or model.units={LARGEST_RESORT} at most"
            )
    return abs(scipy.linalg.eigvals(matrix.toarray(), check_finite=False)).max()


def _cycles(matrix: sparse.csr_array) -> tuple[np.ndarray, int]:
    """Of a strongly connected matrix: how many connections lead from its first unit to each, at least, and the greatest
    common divisor of the lengths of its cycles."""
    steps = dijkstra(matrix.astype(bool).astype(np.float64), indices=0, unweighted=True).astype(np.int64)
    one, other = matrix.nonzero()
    return steps, int(np.gcd.reduce(steps[one] + 1 - steps[other]))


def _around(matrix: sparse.csr_array, class_of: np.ndarray, period: int, largest_dense: int) -> float:
    """The spectral radius of a matrix W whose units are in p classes, each connected to the next one alone, the last to
    the first: every eigenvalue comes p times, turned by 2 pi / p, which ARPACK cannot tell apart, and its p-th power is
    one of W^p within a class."""
    inside = np.flatnonzero(class_of == np.bincount(class_of).argmin())
    product, log_scale = sparse.eye_array(len(class_of), format="csr")[inside], 0.0
    for _ in range(period):
        product = product @ matrix
        scale = abs(product.data).max(initial=0.0)
        if not scale:
            return 0.0
        product.data /= scale
        log_scale += math.log(scale)
    radius = spectral_radius(product[:, inside], largest_dense)
    return math.exp((math.log(radius) + log_scale) / period) if radius else 0.0


def radius_to_scale(matrix: sparse.csr_array) -> float:
    """The spectral radius. Refusal: it is 0, or not to be told from it (a nilpotent matrix, whose echo ends after N
    steps), and no factor gives the matrix another."""
    radius = spectral_radius(matrix)
    if radius <= np.sqrt(np.finfo(float).eps) * np.linalg.norm(matrix.data):
        raise Refusal(
            f"the reservoir's matrix of {matrix.shape[0]} units has spectral radius {radius:.1g}, which cannot be "
            "scaled: take another seed, or more model.connectivity"
        )
    return radius
