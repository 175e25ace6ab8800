"""Text that a model writes."""

import codecs
import itertools
from collections.abc import Iterator

import numpy as np
import torch

from pipeline.corpora.vocabulary import Vocabulary
from pipeline.models.model import SequenceModel

PIECE = 1000  # symbols of a long prompt read at a time


@torch.no_grad()
def generate(
    network: SequenceModel, vocabulary: Vocabulary, prompt: str, temperature: float, generator: torch.Generator
) -> Iterator[str]:
    """x_{t+1} ~ softmax(logits_t / temperature), without end;
    the prompt is read first, whatever its length, and not repeated.

    temperature  >= 0; 0 takes the most likely symbol, 1 samples the model's own distribution, more flattens it
    prompt       symbols outside the vocabulary are read as unknown (a zero input); an empty prompt stands for a line
                 break, or for the first symbol of a vocabulary without one
    Yields a piece of text a symbol; where a symbol is a byte, an empty piece until a character is whole.
    """
    training = network.training
    network.eval()
    read = vocabulary.encode(prompt or "\n")
    if not prompt and read[0] == len(vocabulary):
        read = np.zeros(1, dtype=np.int64)
    if vocabulary.symbols == "bytes":
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        piece_of = [bytes([code]) for code in vocabulary.codes]
        spell = lambda symbol: decoder.decode(piece_of[symbol])
    else:
        spell = [vocabulary.decode([symbol]) for symbol in range(len(vocabulary))].__getitem__
    state = network.start(1)
    device = state[0].device
    *earlier, last = read.astype(np.int64).tolist()
    try:
        for piece_T1 in torch.tensor(earlier, dtype=torch.long, device=device)[:, None].split(PIECE) if earlier else ():
            _, state = network(piece_T1, state)
        step = network.stepper(state)
        while True:
            last_V = step(last).double().cpu()
            if temperature == 0:
                last = int(last_V.argmax())
            else:
                last = int(torch.multinomial(torch.softmax(last_V / temperature, dim=0), 1, generator=generator))
            yield spell(last)
    finally:
        network.train(training)


def write(
    network: SequenceModel, vocabulary: Vocabulary, prompt: str, temperature: float, length: int, seed: int
) -> str:
    """`length` symbols of `generate`, as one text, the same for the same seed."""
    pieces = generate(network, vocabulary, prompt, temperature, torch.Generator().manual_seed(seed))
    return "".join(itertools.islice(pieces, length))
