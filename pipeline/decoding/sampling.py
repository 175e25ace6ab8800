"""Symbols that a network draws, one after the other."""

from collections.abc import Iterator, Sequence

import torch

from pipeline.decoding.network import Network, evaluating

PIECE = 1000  # symbols of a long prompt that are read at a time


@torch.no_grad()
def draw_symbols(
    network: Network,
    read: Sequence[int],
    temperature: float,
    length: int,
    generator: torch.Generator,
    given: tuple = (),
) -> Iterator[int]:
    """x_{t+1} ~ softmax(logits_t / temperature), `length` symbols, each read in its turn.

    read         one symbol or more, read first, however many
    temperature  >= 0; 0 takes the most likely symbol, 1 samples the model's own distribution, more flattens it
    given        what the network is given before the first step, [1, ...] each
    """
    *earlier, last = read
    with evaluating(network):
        state, device = network.start(1, *given), network.device
        pieces = torch.tensor(earlier, dtype=torch.long, device=device)[:, None].split(PIECE) if earlier else ()
        for piece_T1 in pieces:
            _, state = network(piece_T1, state)
        step = network.stepper(state)
        for _ in range(length):
            last_V = step(last).double().cpu()
            if temperature == 0:
                last = int(last_V.argmax())
            else:
                below_V = last_V - last_V.max()  # which no temperature makes infinite where it is largest
                last = int(torch.multinomial(torch.softmax(below_V / temperature, dim=0), 1, generator=generator))
            yield last
