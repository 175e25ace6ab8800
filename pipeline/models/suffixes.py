"""The tree of the contexts of a text: what came before each of its places, read backwards, and what followed.

Shapes: N symbols of the text, V vocabulary, K longest context, G different grams (a context and its follower), M nodes,
E pairs of a node and a follower.
"""

from typing import NamedTuple

import numpy as np


class SuffixTree(NamedTuple):
    """The compact tree of the contexts of a text, each read from its last symbol to its first, at most K symbols.

    Symbols are 1..V. A cut, 0, stands for an unknown symbol and for whatever is before the start; contexts end there.
    Nodes are
        the empty context, the root, of depth 0;
        contexts that came after two or more different symbols, where the cut counts as one;
        contexts of K symbols, and shorter ones with the cut before them, which then counts in their depth: the leaves.
    Any other context came after one symbol alone: it is on the edge above a node, and has that node's followers.

    text      [K + 1 + N]     K + 1 cuts, then the text
    keys      [M - 1] int64   parent * (V + 1) + the symbol by which node i + 1 extends its parent; ascending.
                              The root is node 0
    parent    [M] int32       of each node; the root's is 0
    depth     [M] uint8       symbols of the context
    place     [M] int32       where it has been followed: the context is text[place - 1], text[place - 2], ...
    first     [M + 1] int32   node i has pairs first[i] .. first[i + 1] - 1: one or more,
                              but none in the tree of an empty text
    follower  [E]             1..V, ascending within a node, of the text's type
    count     [E] int32       at a leaf, how often it was followed so; at others, after how many different symbols it
                              was, the cut counting as one
    """

    text: np.ndarray
    keys: np.ndarray
    parent: np.ndarray
    depth: np.ndarray
    place: np.ndarray
    first: np.ndarray
    follower: np.ndarray
    count: np.ndarray


def grow(text: np.ndarray, symbols: int, longest: int) -> SuffixTree:
    """The tree of `text` [N], whole numbers 0..V of at most 32 bits, V = `symbols`,
    for contexts of up to K = `longest` symbols, 0..254.

    M <= 2 N + 1; E must stay below 2^31. Time as K N log N.
    """
    text = np.concatenate([np.zeros(longest + 1, text.dtype), text])
    if not text.any():
        return SuffixTree(
            text,
            np.zeros(0, np.int64),
            np.zeros(1, np.int32),
            np.zeros(1, np.uint8),
            np.full(1, longest + 1, np.int32),
            np.zeros(2, np.int32),
            np.zeros(0, text.dtype),
            np.zeros(0, np.int32),
        )
    reach = _reach(text, longest)
    place, count, shared = _sorted_grams(text, reach, symbols, longest)
    leaf = np.flatnonzero(np.append(True, shared < longest)).astype(np.int32)  # the first gram of each
    place, follower, lengths = place[leaf], text[place], np.diff(leaf, append=np.int32(len(place)))
    nodes = _Nodes(text, symbols, place, np.minimum(reach[place - 1] + 1, longest), leaf, lengths, follower, count)
    shared = shared[leaf[1:] - 1]  # by orphans side by side
    orphans = np.arange(len(leaf), dtype=np.int32)  # in the order of their contexts
    for depth in range(longest - 1, -1, -1):
        joined = np.concatenate([[False], shared == depth, [False]])
        eldest = ~joined[:-1] & (joined[1:] | (depth == 0))  # the root is a parent even of one
        children = eldest | joined[:-1]
        orphans[eldest] = nodes.join(orphans[children], eldest[children], depth)
        orphans, shared = orphans[~joined[:-1]], shared[shared < depth]
    return nodes.tree()


def _runs(first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """first[0] .. first[0] + lengths[0] - 1, first[1] .. first[1] + lengths[1] - 1, ..."""
    shift = first + lengths - np.cumsum(lengths, dtype=first.dtype)
    return np.repeat(shift, lengths) + np.arange(lengths.sum(), dtype=first.dtype)


def _reach(text: np.ndarray, longest: int) -> np.ndarray:
    """Symbols between each place and the last cut before it, at most K; like text, from its second place on."""
    places = np.arange(len(text), dtype=np.int32)
    cut = np.maximum.accumulate(np.where(text == 0, places, 0))
    return np.minimum(places[:-1] - cut[:-1], longest).astype(np.uint8)


def _sorted_grams(
    text: np.ndarray, reach: np.ndarray, symbols: int, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The grams in the order of their contexts, last symbol first, then of their followers: a place of each [G], how
    often it occurs [G], and how many symbols it has in common with the one before, in this order [G - 1]."""
    places = np.flatnonzero(text).astype(np.int32)
    bits = symbols.bit_length()
    in_key = max(1, 16 // bits)
    backs = [0, *range(longest, 0, -1)]
    for start in range(0, longest + 1, in_key):  # from the least significant symbols on, by a radix sort of 16 bits
        key, inside = np.zeros(len(places), np.uint16 if bits <= 16 else np.uint32), reach[places - 1]
        for index, back in enumerate(backs[start : start + in_key]):
            key |= (text[places - back] * (back <= inside)).astype(key.dtype) << index * bits
        places = places[np.argsort(key, kind="stable")]
    shared, equal, inside = np.zeros(len(places) - 1, np.uint8), np.ones(len(places) - 1, bool), reach[places - 1]
    for back in [*range(1, longest + 1), 0]:
        symbol = text[places - back] * (back <= inside)
        equal &= symbol[1:] == symbol[:-1]
        shared += equal
    starts = np.flatnonzero(np.append(True, ~equal)).astype(np.int32)
    return places[starts], np.diff(starts, append=np.int32(len(places))), shared[starts[1:] - 1]


class _Nodes:
    """A tree in the making. Nodes come in generations of one depth,
    the leaves first, so children are numbered before their parents.

    Beside SuffixTree's: rank, a node's first leaf in the order of contexts; lengths, its followers.
    """

    def __init__(
        self,
        text: np.ndarray,
        symbols: int,
        place: np.ndarray,
        depth: np.ndarray,
        first: np.ndarray,
        lengths: np.ndarray,
        follower: np.ndarray,
        count: np.ndarray,
    ):
        self.text, self.symbols = text, symbols
        self.place, self.depth, self.rank, self.parent = (
            place,
            depth,
            np.arange(len(depth), dtype=np.int32),
            np.zeros(len(depth), np.int32),
        )
        self.first, self.lengths, self.follower, self.count = first, lengths, follower, count
        self.ends = [0, len(depth)]  # of generations

    def join(self, children: np.ndarray, eldest: np.ndarray, depth: int) -> np.ndarray:
        """Makes a generation of this depth, a parent for each run
        of children that starts with an eldest; returns it."""
        family, lengths = np.cumsum(eldest) - 1, self.lengths[children]
        parents = np.arange(self.ends[-1], self.ends[-1] + np.count_nonzero(eldest), dtype=np.int32)
        pairs = np.repeat(family, lengths) * (self.symbols + 1) + self.follower[_runs(self.first[children], lengths)]
        pairs.sort()
        different = np.flatnonzero(np.diff(pairs, prepend=-1))
        owner, follower = np.divmod(pairs[different], self.symbols + 1)
        lengths = np.bincount(owner, minlength=len(parents))
        self.lengths, self.first = (
            _extend(self.lengths, lengths),
            _extend(self.first, len(self.follower) + np.cumsum(lengths) - lengths),
        )
        self.follower = _extend(self.follower, follower)
        self.count = _extend(self.count, np.diff(different, append=len(pairs)))  # of the children that it follows
        self.depth, self.parent = (
            _extend(self.depth, np.full(len(parents), depth)),
            _extend(self.parent, np.zeros(len(parents))),
        )
        self.place, self.rank = (
            _extend(self.place, self.place[children[eldest]]),
            _extend(self.rank, self.rank[children[eldest]]),
        )
        self.parent[children] = parents[family]
        self.ends.append(len(self.depth))
        return parents

    def tree(self) -> SuffixTree:
        """The tree, numbered by the number of ancestors, then in the order of contexts: so keys ascend."""
        ancestors = np.zeros(len(self.depth), np.uint8)
        for start, end in reversed(list(zip(self.ends, self.ends[1:-1]))):  # from below the root down
            ancestors[start:end] = ancestors[self.parent[start:end]] + 1
        order = np.lexsort((self.rank, ancestors)).astype(np.int32)
        number = np.empty(len(order), np.int32)
        number[order] = np.arange(len(order), dtype=np.int32)
        lengths, pairs = self.lengths[order], _runs(self.first[order], self.lengths[order])
        follower, count = self.follower[pairs], self.count[pairs]
        depth, place, parent = self.depth[order], self.place[order], number[self.parent[order]]
        parent[0] = 0
        keys = parent[1:] * np.int64(self.symbols + 1) + self.text[place[1:] - 1 - depth[parent[1:]]]
        return SuffixTree(
            self.text,
            keys,
            parent,
            depth,
            place,
            np.append(np.int32(0), np.cumsum(lengths, dtype=np.int32)),
            follower,
            count,
        )


def _extend(numbers: np.ndarray, more: np.ndarray) -> np.ndarray:
    return np.concatenate([numbers, more.astype(numbers.dtype)])
