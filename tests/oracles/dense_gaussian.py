"""A linear Gaussian system as one Gaussian over all its states and observations;
no recursion over time but the system's own equations."""

import math

import numpy as np


class DenseGaussian:
    """The joint distribution of z_0 .. z_{T-1}, y_0 .. y_{T-1}, each a linear function of independent noises: z_0, w_1
    .. w_{T-1}, v_0 .. v_{T-1}.

    A [N, N], B [N, U], C [D, N], D [D, U], d [D], Q, R, m0 [N], P0, u [T, U]
    """

    def __init__(self, A, B, C, D, d, Q, R, m0, P0, u):
        steps, N, observed = len(u), len(A), len(C)
        noise = np.zeros((steps * (N + observed),) * 2)
        states_of, means = np.zeros((steps, N, len(noise))), np.zeros((steps, N))
        for t in range(steps):
            own = slice(t * N, (t + 1) * N)
            noise[own, own] = P0 if t == 0 else Q
            states_of[t, :, own] = np.eye(N)
            means[t] = m0 if t == 0 else A @ means[t - 1] + B @ u[t]
            if t > 0:
                states_of[t] += A @ states_of[t - 1]
        observations_of = np.einsum("dn,tnk->tdk", C, states_of)
        for t in range(steps):
            own = slice(steps * N + t * observed, steps * N + (t + 1) * observed)
            noise[own, own] = R
            observations_of[t, :, own] += np.eye(observed)
        rows = np.concatenate([states_of.reshape(steps * N, -1), observations_of.reshape(steps * observed, -1)])
        self.covariance = rows @ noise @ rows.T
        self.mean = np.concatenate([means.ravel(), (means @ C.T + u @ D.T + d).ravel()])
        self.steps, self.N, self.observed = steps, N, observed

    def z(self, t):
        return np.arange(t * self.N, (t + 1) * self.N)

    def y(self, t):
        return self.steps * self.N + np.arange(t * self.observed, (t + 1) * self.observed)

    def given(self, wanted, y):
        """Mean and covariance of the entries `wanted` given the values y [T', D], T' <= T; NaN is not known."""
        known = self.steps * self.N + np.flatnonzero(~np.isnan(y.ravel()))
        gain = np.linalg.solve(self.covariance[np.ix_(known, known)], self.covariance[np.ix_(known, wanted)]).T
        mean = self.mean[wanted] + gain @ (y.ravel()[known - self.steps * self.N] - self.mean[known])
        return mean, self.covariance[np.ix_(wanted, wanted)] - gain @ self.covariance[np.ix_(known, wanted)]

    def log_likelihood(self, y):
        known = self.steps * self.N + np.flatnonzero(~np.isnan(y.ravel()))
        error, S = y.ravel()[known - self.steps * self.N] - self.mean[known], self.covariance[np.ix_(known, known)]
        return -0.5 * (error @ np.linalg.solve(S, error) + np.linalg.slogdet(S)[1] + len(known) * math.log(2 * math.pi))
