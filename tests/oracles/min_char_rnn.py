"""The lecture's 112-line experiment, step by step in NumPy, written from its equations.

h_t = tanh(Wxh x_t + Whh h_{t-1} + bh),  p_t = softmax(Why h_t + by),  loss = -sum_t log p_t[x_{t+1}] over one sequence;
gradients by backpropagation through that sequence alone, each entry clipped to +-5;
Adagrad: m += g^2, w -= rate g / sqrt(m + 1e-8).
"""

import numpy as np


class MinCharRNN:
    """weights: Wxh [H, V], Whh [H, H], Why [V, H], bh [H], by [V], float64, changed in place."""

    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights = weights
        self.memory = {name: np.zeros_like(value) for name, value in weights.items()}
        self.h = np.zeros(len(weights["bh"]))

    def gradients(self, inputs, targets):
        w, vocabulary = self.weights, len(self.weights["by"])
        hidden, probabilities, loss = [self.h], [], 0.0
        for symbol, target in zip(inputs, targets, strict=True):
            h = np.tanh(w["Wxh"][:, symbol] + w["Whh"] @ hidden[-1] + w["bh"])
            scores = w["Why"] @ h + w["by"]
            p = np.exp(scores - scores.max())
            p /= p.sum()
            hidden.append(h)
            probabilities.append(p)
            loss -= np.log(p[target])
        d = {name: np.zeros_like(value) for name, value in w.items()}
        dh_next = np.zeros_like(self.h)
        for t in reversed(range(len(inputs))):
            dy = probabilities[t].copy()
            dy[targets[t]] -= 1
            d["Why"] += np.outer(dy, hidden[t + 1])
            d["by"] += dy
            da = (w["Why"].T @ dy + dh_next) * (1 - hidden[t + 1] ** 2)
            d["bh"] += da
            d["Wxh"] += np.outer(da, np.eye(vocabulary)[inputs[t]])
            d["Whh"] += np.outer(da, hidden[t])
            dh_next = w["Whh"].T @ da
        self.h = hidden[-1]
        return loss, d

    def step(self, inputs, targets, rate, clip=5.0):
        loss, d = self.gradients(inputs, targets)
        for name, value in self.weights.items():
            g = np.clip(d[name], -clip, clip)
            self.memory[name] += g * g
            value -= rate * g / np.sqrt(self.memory[name] + 1e-8)
        return loss

    def train(self, text, length: int, steps: int, rate: float):
        """Losses of `steps` sequences read one after another;
        at the end of the text the last, shorter one, then h = 0 and from the start."""
        losses, p = [], 0
        for _ in range(steps):
            if p >= len(text) - 1:
                p, self.h = 0, np.zeros_like(self.h)
            stop = min(p + length, len(text) - 1)
            losses.append(self.step(text[p:stop], text[p + 1 : stop + 1], rate))
            p = stop
        return losses
