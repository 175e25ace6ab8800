"""What a model writes after its data's prompts, and the gallery of it."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from pipeline.cells.gru import GRU
from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets.text import Text
from pipeline.decoding import sampling
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.probes.completions import Completions


def data_with(letters="\nabc", prompts=(), symbols="characters"):
    codes = sorted(letters.encode()) if symbols == "bytes" else sorted(map(ord, letters))
    parts = dict.fromkeys(("train", "validation", "test"), np.zeros(20, dtype=np.uint8))
    card = {"corpus": "made", "counts": {part: 20 for part in parts}}
    return Text(Prepared(parts, Vocabulary(symbols, codes), card, prompts))


def gru(data, sharper=1):
    torch.manual_seed(0)
    network = RecurrentNetwork(data.reads, data.answers, (), GRU, 1, 8, None, 0.0, False, 0.0, False).double()
    with torch.no_grad():
        network.readout.weight.mul_(sharper)
    return network


def write(network, data, prompt, temperature, length, seed):
    return "".join(data.write(network, prompt, temperature, length, torch.Generator().manual_seed(seed)))


def log_probabilities(network, symbols):
    with torch.no_grad():
        logits, _ = network(torch.tensor(symbols)[:, None], network.start(1))
    return torch.log_softmax(logits[-1, 0], 0)


# ---- the probe ----


def test_every_prompt_is_completed_as_the_same_seed_writes_it_again():
    data = data_with(prompts=("ab", "", "öa"))
    network, probe = gru(data).train(), Completions(length=12, temperature=0.7)
    assert probe.fits(network, data) and not probe.fits(network, data_with())
    found = probe.measure(network, data, seed=3)["completions"]
    assert [(one["prompt"], one["temperature"]) for one in found] == [("ab", 0.7), ("", 0.7), ("öa", 0.7)]
    assert probe.measure(network, data, seed=3)["completions"] == found
    assert all(len(one["text"]) == 12 for one in found) and network.training
    assert probe.measure(network, data, seed=4) != probe.measure(network, data, seed=3)
    assert "test" not in probe.measures  # nothing of it ranks models


def test_prompts_have_random_numbers_of_their_own():
    prompts = ("ab", "ba", "b")
    network = gru(data_with(prompts=prompts), sharper=0)  # which guesses alike, whatever it has read
    found = Completions(length=12, temperature=1.0).measure(network, data_with(prompts=prompts), seed=3)["completions"]
    assert len({one["text"] for one in found}) == 3
    alone = Completions(length=12, temperature=1.0).measure(network, data_with(prompts=("b",)), seed=3)["completions"]
    assert alone == found[2:]


def test_each_prompt_is_completed_at_each_temperature():
    data = data_with(prompts=("ab", "c"))
    network, probe = gru(data, sharper=5), Completions(length=9, temperature=[0, 2.0])
    found = probe.measure(network, data, seed=3)["completions"]
    asked = list(itertools.product(("ab", "c"), (0, 2.0)))
    assert [(one["prompt"], one["temperature"]) for one in found] == asked
    likeliest = [write(network, data, prompt, 0, 9, seed=5) for prompt in data.prompts]
    assert [one["text"] for one in found[::2]] == likeliest and found[1]["text"] != likeliest[0]
    [exhibit] = probe.show([{"label": "a", "runs": [{"seed": 0, "open": True, "found": {"completions": found}}]}])
    assert exhibit.html.count('<p class="when">temperature 2.0</p>') == 2 == exhibit.html.count(">temperature 0<")
    assert "temperature 0, 2.0" in exhibit.html


def test_the_gallery_shows_every_seed_with_the_first_unfolded_and_all_escaped():
    one = {"prompt": "<b>", "temperature": 0.5, "text": "</b>\x07\n"}
    runs = [{"seed": seed, "open": seed == 0, "found": {"completions": [one, one]}} for seed in (0, 1)]
    [exhibit] = Completions(9, 0.5).show([{"label": "<lstm>", "runs": runs}, {"label": "gru", "runs": runs[1:]}])
    html = exhibit.html
    assert html.count("<details") == html.count("</details>") == 3 and html.count(" open>") == 1
    assert html.count("<b>&lt;b&gt;</b>&lt;/b&gt;<i>\\x07</i>\n") == 6
    assert "&lt;lstm&gt;, seed 0" in html and "gru, seed 1" in html and "temperature 0.5" in html


# ---- what a text writes ----


def test_the_same_seed_writes_the_same_and_another_another():
    data = data_with()
    network = gru(data)
    texts = [write(network, data, "ab", 1.0, 40, seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2] and len(texts[0]) == 40


def test_temperature_zero_takes_the_most_likely_symbol_given_all_before():
    data = data_with()
    network, read = gru(data, sharper=20), [1, 2]
    for character in write(network, data, "ab", 0.0, 10, 0):
        symbol = int(log_probabilities(network, read).argmax())
        assert character == data.vocabulary.decode([symbol])
        read.append(symbol)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_first_symbols_have_the_tempered_distribution(temperature):
    data = data_with()
    network = gru(data, sharper=5)
    expected = torch.softmax(log_probabilities(network, [3, 1]) / temperature, 0)
    counts = Counter(write(network, data, "ca", temperature, 1, seed) for seed in range(3000))
    drawn = torch.tensor([counts[data.vocabulary.decode([symbol])] / 3000 for symbol in range(4)])
    assert (drawn - expected).abs().max() < 4 * (0.25 / 3000) ** 0.5


def test_an_empty_prompt_is_a_line_break_and_the_first_symbol_where_there_is_none():
    data, unbroken = data_with(), data_with("abcd")
    network = gru(data)
    assert write(network, data, "", 1.0, 20, 3) == write(network, data, "\n", 1.0, 20, 3)
    assert write(network, unbroken, "", 1.0, 20, 3) == write(network, unbroken, "a", 1.0, 20, 3)


def test_unknown_symbols_are_zero_inputs_and_warned_of():
    data = data_with()
    network = gru(data, sharper=5)
    likeliest = int(log_probabilities(network, [1, 4]).argmax())
    assert write(network, data, "aö", 0.0, 1, 0) == data.vocabulary.decode([likeliest])
    assert data.check_prompt("aöbö") == "made has never seen 'ö': read as unknown" and data.check_prompt("ab") is None


def test_a_long_prompt_is_read_whole(monkeypatch):
    data = data_with()
    network, prompt = gru(data), "abcab\ncc" * 40
    expected = write(network, data, prompt, 1.0, 30, 5)
    monkeypatch.setattr(sampling, "PIECE", 7)
    assert write(network, data, prompt, 1.0, 30, 5) == expected


def test_bytes_become_characters_when_they_are_whole():
    data = data_with("é!", symbols="bytes")
    pieces = list(itertools.islice(data.write(gru(data), "!", 1.0, 300, torch.Generator().manual_seed(0)), 300))
    assert {"é", "!", ""} <= set(pieces)
    assert "".join(pieces).replace("\N{REPLACEMENT CHARACTER}", "").strip("é!") == ""
