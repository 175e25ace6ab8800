"""N-gram model over a suffix tree: the tree model of the lecture in its practical form."""

import math
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cells.cell import State
from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batch
from pipeline.datasets.data import Data
from pipeline.datasets.space import Space, Symbols
from pipeline.models.kneser_ney import estimate_discounts, on_edges, smooth
from pipeline.models.model import StatisticsModel, reads_and_foretells
from pipeline.models.suffixes import grow
from pipeline.models.taps import delayed, no_taps

MOST = 2**29  # symbols of a text
PIECE = 2**20  # probabilities computed at a time
# Made from the text, and never saved.
MADE = ("keys", "depth", "place", "first", "follower", "mass", "backoff", "edges", "shortest")


class NGram(StatisticsModel):
    """p(x_{t+1} | x_{t-n+2} .. x_t) by interpolated modified Kneser-Ney smoothing:
    pipeline.models.kneser_ney has the equations.

    reads  V symbols; an unknown one, and the start, cut the context: nothing before them is seen
    order  n in 1..255: contexts are of up to K = n - 1 symbols

    Learned by counting, in one pass. No symbol ever has probability 0; without a text all have 1 / V. Parameters:
    discounts [n, 3]. What is saved is the text, a byte a symbol for V < 256; the rest is made again from it.
    Memory for N symbols, M nodes and E pairs of the tree: N + 25 M + 9 E bytes in float64, N + 21 M + 5 E in float32,
    where M <= 2 N + 1; for K = 19 prose has M = 1.5 N and E = 2.1 N, C code 1.1 N and 1.5 N. While it is made, about
    150 N bytes; while it reads, 100 MB more. Q contexts [Q, K] are symbols 1..V,
    the last one first, 0 from where they are cut.
    """

    learned_by = ("count",)

    def __init__(
        self, reads: Symbols, answers: Symbols, given: tuple[Space, ...], order: Annotated[int, Ge(1), Le(255)]
    ):
        super().__init__(reads, answers, given)
        self.order = order
        self.discounts = nn.Parameter(torch.zeros(order, 3), requires_grad=False)
        dtype = torch.uint8 if reads.count < 2**8 else torch.int16 if reads.count < 2**15 else torch.int32
        self.register_buffer("text", torch.zeros(order, dtype=dtype))
        for name in MADE:
            self.register_buffer(name, None, persistent=False)
        self._build()

    @classmethod
    def fits(cls, data: Data) -> str | None:
        if not reads_and_foretells(data, Symbols):
            return "counts symbols, each after those before it: take data=shakespeare, linux, latex or another text"
        if not data.contiguous:
            return "counts one text from its beginning to its end, these are separate sequences: take model=lstm or hmm"
        return super().fits(data)

    def count_parameters(self) -> int:
        """Numbers that a table of the model would hold: a probability for each pair and a weight for each node."""
        return len(self.mass) + len(self.backoff)

    def start(self, batch: int) -> State:
        return (no_taps(self.reads, batch, self.order, self.text),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen, last = delayed(x, *state)
        contexts = seen[:, :, : self.order - 1].flatten(0, 1).add(1).remainder_(self.reads.count + 1)
        pieces = contexts.split(max(1, PIECE // self.reads.count))
        logits = torch.cat([self._probabilities(piece).log_().to(self.dtype) for piece in pieces])
        return logits.view(*x.shape, self.reads.count), (last,)

    def _probabilities(self, contexts: Tensor) -> Tensor:
        """p(w | context) for every w: contexts [Q, K] -> [Q, V], float64, above 0."""
        query, node, above, matched = self._path(contexts)
        # A context may end on the edge above its last node.
        whole, edge = self.depth[node] <= matched, self.edges[above, matched]
        rest = torch.ones(len(contexts), self.order, dtype=torch.float64, device=contexts.device)
        rest[query, above] = torch.where(whole, self.backoff[node].double(), edge)
        rest = rest.flip(1).cumprod(1).flip(1)  # what longer contexts leave to shorter ones
        p = (rest[:, :1] * self.shortest).flatten()
        weight = rest[query, above + 1]
        # On an edge the followers share 1 - edge evenly; a node has their masses.
        first, end = self.first[node].long(), self.first[node + 1]
        even = torch.where(whole, 0, weight * (1 - edge) / (end - first))
        weight = torch.where(whole, weight, 0)
        pair = torch.repeat_interleave(end - first)
        at = (first - (end - first).cumsum(0) + end - first).index_select(0, pair) + torch.arange(
            len(pair), device=pair.device
        )
        mass = even.index_select(0, pair).addcmul_(weight.index_select(0, pair), self.mass.index_select(0, at).double())
        cell = (query * self.reads.count - 1).index_select(0, pair) + self.follower.index_select(0, at)
        return p.scatter_add_(0, cell, mass).clamp_(min=torch.finfo(p.dtype).tiny).view(len(contexts), -1)

    def _path(self, contexts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The nodes below the root on whose edge, or at which, a suffix of a context lies: which context, which node,
        the depth above its edge, and how many symbols the context has in common with the text."""
        count, longest = contexts.shape
        contexts = F.pad(contexts, (0, 1))
        query, node = (
            torch.arange(count, device=contexts.device),
            torch.zeros(count, dtype=torch.long, device=contexts.device),
        )
        deepest, path = node.clone(), []
        while len(query):  # by the symbols at nodes alone; those on edges are compared at the end
            depth = self.depth[node].long()
            key = node * (self.reads.count + 1) + contexts[query, depth]
            at = torch.searchsorted(self.keys, key)
            there = (self.keys[at] == key).nonzero()[:, 0]
            query, node = query[there], at[there] + 1
            deepest[query] = node
            path.append((query, node, depth[there]))
        text = self.text[self.place[deepest].long()[:, None] - torch.arange(1, longest + 1, device=contexts.device)]
        contexts = contexts[:, :longest]
        matched = ((text == contexts) & (contexts > 0)).cumprod(1).sum(1)
        query, node, above = map(torch.cat, zip(*path))
        seen = (above < matched[query]).nonzero()[:, 0]
        return query[seen], node[seen], above[seen], matched[query[seen]]

    def zero_statistics(self, elements: int) -> dict[str, Tensor]:
        """The text: 1 + symbol at each place, 0 where it is unknown."""
        if elements > MOST:
            raise Refusal(f"model=ngram: the training part has {elements:,} symbols: take one of at most {MOST:,}")
        return {"text": torch.zeros(elements, dtype=torch.int64, device=self.text.device)}

    @torch.no_grad()
    def accumulate(self, statistics: dict[str, Tensor], batch: Batch, state: State) -> tuple[State, Tensor]:
        text, known = statistics["text"], batch.targets < self.reads.count
        # Without a choice of elements, for which a GPU would be waited for: what is unknown adds nothing.
        text.index_add_(
            0, torch.where(known, batch.positions + 1, 0).flatten(), torch.where(known, batch.targets + 1, 0).flatten()
        )
        if not batch.carried:  # the text's first symbol is the only one that is no target
            first = (batch.positions[0] == 0) & (batch.inputs[0] < self.reads.count)
            text[:1] += torch.where(first, batch.inputs[0] + 1, 0).sum()
        if not len(self.mass):  # all symbols alike: soon said
            return (delayed(batch.inputs, *state)[1],), known.sum().double() * math.log(self.reads.count)
        logits, state = self(batch.inputs, state)
        return state, self.answers.loss(logits.double(), batch.targets)

    @torch.no_grad()
    def update(self, statistics: dict[str, Tensor]) -> None:
        self.text = F.pad(statistics["text"].to(self.text.dtype), (self.order, 0))
        self._build()

    @torch.no_grad()
    def _build(self) -> None:
        """Makes everything from the text."""
        tree = grow(self.text[self.order :].cpu().numpy(), self.reads.count, self.order - 1)
        discounts = estimate_discounts(tree, self.order - 1)
        mass, backoff = smooth(tree, discounts)
        shortest = np.full(self.reads.count, backoff[0] / self.reads.count)
        shortest[tree.follower[: tree.first[1]] - 1] += mass[: tree.first[1]]
        self.discounts.copy_(torch.from_numpy(discounts))
        self.keys = self._put(np.append(tree.keys, np.iinfo(np.int64).max))  # one above all, for searches to end at
        self.depth, self.place, self.first, self.follower = map(
            self._put, (tree.depth, tree.place, tree.first, tree.follower)
        )
        self.mass, self.backoff = self._put(mass).to(self.dtype), self._put(backoff).to(self.dtype)
        self.edges, self.shortest = self._put(on_edges(discounts)), self._put(shortest)

    def _put(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self.text.device)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_buffers": self._buffers | dict.fromkeys(MADE)}

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._build()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *arguments) -> None:
        if prefix + "text" in state_dict:
            self.text = self.text.new_empty(state_dict[prefix + "text"].shape)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._build()
