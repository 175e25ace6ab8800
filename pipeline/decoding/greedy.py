"""The likeliest next symbol, again and again, for many sequences at once."""

import torch
from torch import Tensor

from pipeline.decoding.network import Network, evaluating


@torch.no_grad()
def likeliest(network: Network, given: tuple[Tensor, ...], first: int, end: int, longest: int) -> list[list[int]]:
    """y_t = argmax p(y | y_1 .. y_{t-1}, given) for each of B sequences, up to `end`, which is not returned, or to so
    many symbols.

    given  what the network is given before the first step, [B, ...] each
    first  the symbol that is read first
    """
    batch = len(given[0])
    found: list[list[int]] = [[] for _ in range(batch)]
    with evaluating(network):
        device = network.device
        state = network.start(batch, *(part.to(device) for part in given))
        last_B, going = torch.full((batch,), first, device=device), list(range(batch))
        for _ in range(longest):
            z_1BV, state = network(last_B[None], state)
            last_B = z_1BV[0].argmax(-1)
            symbols = last_B.tolist()
            kept = [k for k, symbol in enumerate(symbols) if symbol != end]
            for k in kept:
                found[going[k]].append(symbols[k])
            if not kept:
                break
            if len(kept) < len(going):
                going = [going[k] for k in kept]
                which = torch.tensor(kept, device=device)
                last_B, state = last_B[which], tuple(part[:, which] for part in state)
    return found
