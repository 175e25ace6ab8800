"""The likeliest sentences that a network can write, as far as a beam of limited width sees.

Shapes: N sentences that are sought side by side, W width of the beam, V symbols.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.decoding.network import Network, evaluating


class Sentence(NamedTuple):
    """symbols  without the end;  log_p  natural logarithm of its probability, with that of its end
    score  log_p / n^length_penalty, n its symbols with the end: what sentences are ranked by
    """

    symbols: list[int]
    log_p: float
    score: float


@torch.no_grad()
def beam_search(
    network: Network,
    begin: int,
    end: int,
    width: int,
    longest: int,
    given: tuple[Tensor, ...] = (),
    length_penalty: float = 0.0,
) -> list[list[Sentence]]:
    """Of each of the N that are given something, up to `width` sentences, best first.

    At each step the W likeliest continuations of all kept beginnings are kept. One that ends leaves the beam, which
    is narrower by one from then on. W = 1 takes the likeliest symbol at each step.

    begin, end      the symbol that is read first, and the one that ends a sentence
    longest         >= 1 symbols, with the end: a sentence that has not ended is cut there
    given           what the network is given before the first step, [N, ...] each; nothing: N = 1
    length_penalty  a of score = log p / n^a, >= 0: 0 ranks by probability, which favours short sentences, 1 by the
                    mean over symbols
    """
    N = len(given[0]) if given else 1
    found: list[list[Sentence]] = [[] for _ in range(N)]
    with evaluating(network):
        state, device = network.start(N, *given), network.device
        last = torch.full((N,), begin, device=device)
        log_p = torch.zeros(N, 1, dtype=torch.float64, device=device)
        written = torch.zeros(N, 1, 0, dtype=torch.long, device=device)
        for length in range(1, longest + 1):
            z, state = network(last[None], state)
            beams, V = log_p.shape[1], z.shape[-1]
            following = torch.log_softmax(z[0].double(), dim=-1).view(N, beams, V)
            together = (log_p[..., None] + following).flatten(1)
            log_p, chosen = together.topk(min(width, beams * V), dim=1)
            parent, symbol = chosen // V, chosen % V
            written = torch.cat(
                [written.gather(1, parent[..., None].expand(-1, -1, length - 1)), symbol[..., None]], dim=-1
            )
            room = torch.tensor([width - len(some) for some in found], device=device)
            outside = torch.arange(log_p.shape[1], device=device) >= room[:, None]
            log_p = log_p.masked_fill(outside, -math.inf)
            done = log_p.isfinite() & ((symbol == end) | (length == longest))
            for n, k in done.nonzero().tolist():
                symbols, logarithm = written[n, k].tolist(), log_p[n, k].item()
                symbols = symbols[:-1] if symbols[-1] == end else symbols
                found[n].append(Sentence(symbols, logarithm, logarithm / length**length_penalty))
            log_p = log_p.masked_fill(done, -math.inf)
            if not log_p.isfinite().any():
                break
            kept = (parent + beams * torch.arange(N, device=device)[:, None]).flatten()
            state, last = tuple(part[:, kept] for part in state), symbol.flatten()
    return [sorted(some, key=lambda sentence: -sentence.score) for some in found]
