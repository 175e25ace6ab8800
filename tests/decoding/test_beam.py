import itertools
import math

import pytest
import torch
from hydra.utils import instantiate

from pipeline.datasets.space import Reals, Symbols
from pipeline.decoding.beam import beam_search
from pipeline.decoding.sampling import draw_symbols
from pipeline.models.recurrent import RecurrentNetwork
from tests.conftest import composed

END, LONGEST = 3, 4


@pytest.fixture(scope="module")
def network():
    """Four symbols, of which the last ends a sentence; given three numbers."""
    torch.manual_seed(1)
    cell = instantiate(composed("model=gru").model.cell)
    space = Symbols(4, "word")
    made = RecurrentNetwork(space, space, (Reals(3),), cell, 1, 6, None, 0.0, False, 0.0, False).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(1.5 * torch.randn_like(parameter))
    return made.eval()


def every_sentence(network, image):
    """(symbols without the end, log p, symbols with the end) of all that can be written, each read from its start."""
    for length in range(1, LONGEST + 1):
        for symbols in itertools.product(range(4), repeat=length):
            ended = symbols[-1] == END
            if END in symbols[:-1] or not ended and length < LONGEST:
                continue
            read = torch.tensor([[END, *symbols[:-1]]]).T
            with torch.no_grad():
                z, _ = network(read, network.start(1, image[None]))
            log_p = torch.log_softmax(z[:, 0], -1)[range(length), list(symbols)].sum().item()
            yield list(symbols[:-1] if ended else symbols), log_p, length


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.5])
def test_a_wide_beam_finds_the_best_of_all_sentences(network, penalty):
    images = torch.randn(3, 3, dtype=torch.double, generator=torch.Generator().manual_seed(4))
    found = beam_search(network, END, END, 1000, LONGEST, (images,), penalty)
    for image, sentences in zip(images, found, strict=True):
        expected = sorted(every_sentence(network, image), key=lambda one: -one[1] / one[2] ** penalty)
        assert len(sentences) == len(expected) and math.isclose(sum(math.exp(one.log_p) for one in sentences), 1)
        for one, (symbols, log_p, length) in zip(sentences, expected, strict=True):
            assert one.symbols == symbols
            assert math.isclose(one.log_p, log_p) and math.isclose(one.score, log_p / length**penalty)
    assert len({tuple(sentences[0].symbols) for sentences in found}) > 1  # what is given matters


def test_a_narrow_beam_takes_the_likeliest_symbol_and_a_beam_of_two_the_two_likeliest_continuations(network):
    images = torch.randn(8, 3, dtype=torch.double, generator=torch.Generator().manual_seed(5))
    for image, [one] in zip(images, beam_search(network, END, END, 1, 9, (images,)), strict=True):
        greedy = list(draw_symbols(network, [END], 0.0, 9, torch.Generator(), (image[None],)))
        assert one.symbols == (greedy[: greedy.index(END)] if END in greedy else greedy)
    for image, found in zip(images, beam_search(network, END, END, 2, 2, (images,)), strict=True):
        step = lambda read, image=image: torch.log_softmax(  # noqa: E731
            network(torch.tensor([read]).T, network.start(1, image[None]))[0][-1, 0], -1
        ).tolist()
        with torch.no_grad():
            first = sorted(((log_p, [symbol]) for symbol, log_p in enumerate(step([END]))), reverse=True)[:2]
            ended = [one for one in first if one[1] == [END]]
            second = [
                (log_p + more, [*read, symbol])
                for log_p, read in first
                if read != [END]
                for symbol, more in enumerate(step([END, *read]))
            ]
        expected = sorted(ended + sorted(second, reverse=True)[: 2 - len(ended)], reverse=True)
        assert [one.symbols for one in found] == [[s for s in read if s != END] for _, read in expected]
