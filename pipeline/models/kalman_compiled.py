"""kalman.cpp, as it was compiled when the project was installed: the filter and the smoother step by step, for systems
whose covariances are other ones at every step.

Shapes: T time, B streams, D observed, N states, b = 1 where the streams share a covariance, else B.
"""

import ctypes
import functools
from pathlib import Path

import numpy as np
import torch

from pipeline.recurrence import forms

Array = np.ndarray


class _System(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_int64) for name in "ND"), *((name, ctypes.c_void_p) for name in "ACQR")]


class _Forward(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("T", "B", "b", "patterns")),
        *((name, ctypes.c_void_p) for name in ("missing", "net", "drive", "mean", "covariance")),
        *((name, ctypes.c_void_p) for name in ("predicted", "updated", "P", "updated_P", "errors", "log_likelihood")),
    ]


class _Backward(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("T", "B", "b")),
        *((name, ctypes.c_void_p) for name in ("predicted", "updated", "P", "updated_P")),
        *((name, ctypes.c_void_p) for name in ("means", "smoothed_P", "lagged")),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The fastest of the compiled forms that this processor can run; None where none was compiled."""
    return forms.fastest(load)


def load(form: str) -> ctypes.CDLL | None:
    """A compiled form, if it is there."""
    kalman = forms.load(Path(__file__).with_name("kalman"), form)
    if kalman is not None:
        for function, arrays in ((kalman.filter_steps, _Forward), (kalman.smooth_steps, _Backward)):
            function.argtypes = [ctypes.POINTER(_System), ctypes.POINTER(arrays), ctypes.c_int64]
            function.restype = ctypes.c_bool
    return kalman


def filter_steps(
    matrices: tuple[Array, ...], missing: Array, net: Array, drive: Array | None, mean: Array, P: Array
) -> dict[str, Array] | None:
    """A, C, Q, R; missing [T, 1 or B, D]; net [T, B, D], y_t - D u_t - d and 0 where y_t is missing; drive [T - 1, B,
    N], B u_t from the second step on, or None; mean [B, N] and P [1 or B, N, N] of z_0 ->
    predicted and updated means [T, B, N], P and updated_P [T, b, N, N], errors [T, B, D], log_likelihood [T, B];
    None where C P C^T + R is singular."""
    (T, B, D), N, b = net.shape, mean.shape[1], max(len(P), missing.shape[1])
    P = np.broadcast_to(P, (b, N, N))
    results = {
        **{name: np.empty((T, B, N)) for name in ("predicted", "updated")},
        **{name: np.empty((T, b, N, N)) for name in ("P", "updated_P")},
        "errors": np.empty((T, B, D)),
        "log_likelihood": np.empty((T, B)),
    }
    given = {"net": net, "mean": mean, "covariance": P} | ({} if drive is None else {"drive": drive})
    missing = np.ascontiguousarray(missing, dtype=np.bool_)
    sizes = {"T": T, "B": B, "b": b, "patterns": missing.shape[1]}
    return _call(library().filter_steps, matrices, _Forward, sizes, given | {"missing": missing}, results)


def smooth_steps(
    matrices: tuple[Array, ...], predicted: Array, updated: Array, P: Array, updated_P: Array
) -> dict[str, Array] | None:
    """What filter_steps gave -> smoothed means [T, B, N], smoothed_P [T, b, N, N] and lagged [T, b, N, N], Cov(z_{t+1},
    z_t) and 0 for the last step; None where P of a step is singular."""
    results = {"means": np.empty(updated.shape), "smoothed_P": np.empty(P.shape), "lagged": np.empty(P.shape)}
    sizes = {"T": len(P), "B": updated.shape[1], "b": P.shape[1]}
    given = {"predicted": predicted, "updated": updated, "P": P, "updated_P": updated_P}
    return _call(library().smooth_steps, matrices, _Backward, sizes, given, results)


def _call(function, matrices, arrays, sizes, given, results) -> dict[str, Array] | None:
    A, C, Q, R = matrices = [np.ascontiguousarray(matrix, dtype=np.float64) for matrix in matrices]
    given = {
        name: part if part.dtype == np.bool_ else np.ascontiguousarray(part, dtype=np.float64)
        for name, part in given.items()
    }
    system = _System(len(A), len(C), *(matrix.ctypes.data for matrix in matrices))
    memory = arrays(**sizes, **{name: part.ctypes.data for name, part in (given | results).items()})
    return results if function(ctypes.byref(system), ctypes.byref(memory), torch.get_num_threads()) else None
