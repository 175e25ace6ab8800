import itertools
from collections import Counter

import pytest
import torch

from pipeline.cells.gru import GRU
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.space import Symbols
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.probes import text as probe
from pipeline.probes.text import generate, write

LETTERS = Vocabulary("characters", [ord(c) for c in "\nabc"])


@pytest.fixture
def network():
    torch.manual_seed(0)
    return RecurrentNetwork(Symbols(4), GRU, 1, 8, None, 0.0, False, 0.0, False).double()


def log_probabilities(network, symbols):
    with torch.no_grad():
        logits, _ = network(torch.tensor(symbols)[:, None], network.start(1))
    return torch.log_softmax(logits[-1, 0], 0)


def test_the_same_seed_writes_the_same_and_another_another(network):
    texts = [write(network, LETTERS, "ab", 1.0, 40, seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2] and len(texts[0]) == 40


def test_temperature_zero_takes_the_most_likely_symbol_given_all_before(network):
    with torch.no_grad():
        network.readout.weight.mul_(20)
    read = [1, 2]
    for character in write(network, LETTERS, "ab", 0.0, 10, 0):
        symbol = int(log_probabilities(network, read).argmax())
        assert character == LETTERS.decode([symbol])
        read.append(symbol)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_first_symbols_have_the_tempered_distribution(network, temperature):
    with torch.no_grad():
        network.readout.weight.mul_(5)
    expected = torch.softmax(log_probabilities(network, [3, 1]) / temperature, 0)
    counts = Counter(write(network, LETTERS, "ca", temperature, 1, seed) for seed in range(3000))
    drawn = torch.tensor([counts[LETTERS.decode([symbol])] / 3000 for symbol in range(4)])
    assert (drawn - expected).abs().max() < 4 * (0.25 / 3000) ** 0.5


def test_an_empty_prompt_is_a_line_break_and_the_first_symbol_where_there_is_none(network):
    assert write(network, LETTERS, "", 1.0, 20, 3) == write(network, LETTERS, "\n", 1.0, 20, 3)
    unbroken = Vocabulary("characters", [ord(c) for c in "abcd"])
    assert write(network, unbroken, "", 1.0, 20, 3) == write(network, unbroken, "a", 1.0, 20, 3)


def test_unknown_symbols_are_zero_inputs(network):
    with torch.no_grad():
        network.readout.weight.mul_(5)
    network.eval()
    assert write(network, LETTERS, "aö", 0.0, 1, 0) == LETTERS.decode(
        [int(log_probabilities(network, [1, 4]).argmax())]
    )


def test_a_long_prompt_is_read_whole(network, monkeypatch):
    prompt = "abcab\ncc" * 40
    expected = write(network, LETTERS, prompt, 1.0, 30, 5)
    monkeypatch.setattr(probe, "PIECE", 7)
    assert write(network, LETTERS, prompt, 1.0, 30, 5) == expected


def test_bytes_become_characters_when_they_are_whole():
    octets = Vocabulary("bytes", sorted("é!".encode()))
    network = RecurrentNetwork(Symbols(3), GRU, 1, 4, None, 0.0, False, 0.0, False)
    pieces = list(itertools.islice(generate(network, octets, "!", 1.0, torch.Generator().manual_seed(0)), 300))
    assert {"é", "!", ""} <= set(pieces)
    assert "".join(pieces).replace("\N{REPLACEMENT CHARACTER}", "").strip("é!") == ""
