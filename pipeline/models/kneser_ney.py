"""Interpolated modified Kneser-Ney smoothing on the tree of contexts.

Shapes: V vocabulary, K longest context, M nodes, E pairs of a node and a follower.

    p(w | h) = (c(hw) - D_k(c(hw))) / c(h) + g(h) p(w | h'),    c(h) = sum_w c(hw),    g(h) = sum_w D_k(c(hw)) / c(h),

for a context h of k symbols and h' without its first one, down to p(w | empty') = 1 / V; a context that was never seen
has p(w | h'). c(hw) is how often the gram hw was seen where k = K, and where k < K how many different symbols it came
after, the start of the text or an unknown symbol counting as one. D_k(0) = 0, D_k(1), D_k(2) and D_k(3) = D_k(4) = ...
are the discounts. Kneser & Ney 1995; Chen & Goodman 1999, who give the modified form.
"""

import numpy as np

from pipeline.models.suffixes import SuffixTree

FALLBACK = (0.5, 1.0, 1.5)  # as in KenLM


def estimate_discounts(tree: SuffixTree, longest: int) -> np.ndarray:
    """D_k(1), D_k(2), D_k(3) for k = 0..K, in (0, 1], (0, 2], (0, 3] [K + 1, 3]:

        D(j) = j - (j + 1) Y n_{j+1} / n_j,    Y = n_1 / (n_1 + 2 n_2),    n_j: grams of k + 1 symbols whose count is j,

    or FALLBACK where an n_j is zero or a discount is not positive.
    """
    n = _counts_of_counts(tree, longest)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = n[:, :1] / (n[:, :1] + 2 * n[:, 1:2])
        wanted = np.arange(1, 4) - np.arange(2, 5) * y * n[:, 1:] / n[:, :3]
    usable = n.all(axis=1) & (wanted > 0).all(axis=1)
    return np.where(usable[:, None], wanted, FALLBACK)


def on_edges(discounts: np.ndarray) -> np.ndarray:
    """What contexts of a + 1 .. b symbols leave to that of a, where every follower of theirs has the count 1: prod_{a <
    k <= b} D_k(1) for a, b = 0..K, and 1 where a >= b [K + 1, K + 1]."""
    logs = np.cumsum(np.log(discounts[:, 0]))
    return np.exp(np.minimum(logs - logs[:, None], 0))


def smooth(tree: SuffixTree, discounts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each node and the edge above it add up to: p(w | node) = mass of the pair (node, w),
    or 0, + backoff(node) p(w | parent); [E], [M]."""
    if not len(tree.follower):
        return np.zeros(0), np.ones(1)
    lengths = np.diff(tree.first)
    kind = np.repeat(tree.depth * np.int16(3), lengths)
    kind += np.minimum(tree.count, 3).astype(np.uint8) - 1
    taken = discounts.ravel()[kind]
    total = np.add.reduceat(tree.count, tree.first[:-1], dtype=np.float64)
    own = np.add.reduceat(taken, tree.first[:-1]) / total
    mass = np.subtract(tree.count, taken, out=taken)
    mass /= np.repeat(total, lengths)
    edge = np.append(1.0, on_edges(discounts)[tree.depth[tree.parent[1:]], tree.depth[1:] - 1])
    mass += np.repeat(own * (1 - edge) / lengths, lengths)
    return mass, own * edge


def _counts_of_counts(tree: SuffixTree, longest: int) -> np.ndarray:
    """Grams of k + 1 symbols with the count j, k = 0..K, j = 1..4 [K + 1, 4]."""
    lengths, above, depth = np.diff(tree.first), tree.depth[tree.parent[1:]], tree.depth[1:]
    uncut = np.append(True, tree.text[tree.place[1:] - depth] > 0)
    kind = np.repeat(np.where(uncut, tree.depth, longest + 1) * np.int16(5), lengths)
    kind += np.minimum(tree.count, 5).astype(np.uint8) - 1
    n = np.bincount(kind, minlength=5 * longest + 10).reshape(-1, 5)[: longest + 1, :4]
    # Between a parent and its child all counts are 1.
    starts, ends = (np.bincount(at, lengths[1:], minlength=longest + 2) for at in (above + 1, depth))
    n[:, 0] += np.cumsum(starts - ends)[: longest + 1].astype(n.dtype)
    return n
