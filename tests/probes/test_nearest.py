"""Which words are nearest, of vectors and states that are known."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from pipeline.cells.gru import GRU
from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Words
from pipeline.datasets.text import Text
from pipeline.models.feedforward_lm import FeedforwardLM
from pipeline.models.ngram import NGram
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.probes.nearest import Nearest, embeddings, neighbours
from tests.probes.test_closing import text_data

KNOWN = ["<unk>", "king", "queen", "of", "the", "."]


def word_data(text):
    vocabulary = Words(KNOWN, "spaces")
    parts = dict.fromkeys(("train", "validation", "test"), vocabulary.encode(text))
    return Text(Prepared(parts, vocabulary, {"corpus": "made", "counts": {part: len(parts[part]) for part in parts}}))


def gru(data, embedding=None):
    torch.manual_seed(0)
    return RecurrentNetwork(data.reads, data.answers, (), GRU, 2, 8, embedding, 0.0, False, 0.0, False).double()


def test_neighbours_are_those_of_centred_cosines():
    vectors = list(np.random.default_rng(0).standard_normal((6, 4)) + 3)
    centred = np.stack(vectors) - np.mean(vectors, axis=0)
    distances = cdist(centred[2:3], centred, "cosine")[0]
    found = neighbours(KNOWN, vectors, 2)
    assert [word for word, _ in found] == [KNOWN[place] for place in np.argsort(distances) if place != 2]
    assert [cosine for _, cosine in found] == pytest.approx(sorted(1 - np.delete(distances, 2))[::-1], abs=6e-4)


def test_embeddings_are_those_of_each_word():
    data = word_data("the king . " * 60)
    network = gru(data, embedding=5)
    assert np.array_equal(embeddings(network, 6), network.embedding.weight.detach().numpy())
    plain = gru(data)
    one_hot = torch.zeros(1, 1, 6, dtype=torch.float64)
    one_hot[0, 0, 3] = 1
    biased, unbiased = (
        torch.cat(list(plain.stack.cells[0].project(x).values()), -1) for x in (one_hot, torch.zeros_like(one_hot))
    )
    assert np.allclose(embeddings(plain, 6)[3], (biased - unbiased).detach().numpy().ravel())
    bengio = FeedforwardLM(data.reads, data.answers, (), 3, 4, 8, True)
    assert np.array_equal(embeddings(bengio, 6), bengio.features.detach().double().numpy().T)


def test_states_after_words_are_averaged_and_compared():
    text = "the king of the queen . the queen of the king . king king queen of <unk> . " * 12
    data = word_data(text)
    network, probe = gru(data, embedding=5), Nearest(elements=150, among=4, asked=3, shown=2)
    assert probe.fits(network, data) and not probe.fits(NGram(data.reads, data.answers, (), 3), data)
    found = probe.measure(network, data, 0)
    symbols = torch.from_numpy(data.parts["test"][:150].astype(np.int64))[:, None]
    with torch.no_grad():
        h = torch.cat(network.activities(symbols, network.start(1))[0], -1)[:-1, 0].numpy()
    read = symbols[:-1, 0].numpy()
    words = sorted(("king", "queen", "of", "the"), key=lambda word: (-(read == KNOWN.index(word)).sum(), word))
    means = [h[read == KNOWN.index(word)].mean(0) for word in words]
    assert [word for word, _ in found["state"]] == [words[0], words[1], words[3]]
    for word, near in found["state"]:
        expected = neighbours(words, means, words.index(word))[:2]
        assert [one for one, _ in near] == [one for one, _ in expected]
        assert [cosine for _, cosine in near] == pytest.approx([cosine for _, cosine in expected], abs=2e-3)
    [exhibit] = probe.show(
        json.loads(json.dumps([{"label": "<gru>", "runs": [{"seed": 0, "open": True, "found": found}]}]))
    )
    assert "nearest by embedding" in exhibit.html and "&lt;gru&gt;" in exhibit.html and "king" in exhibit.html


def test_words_of_characters_end_with_their_last_letter():
    data = text_data("ab (a ba) aab\nb ab " * 20, '\n" ()ab')
    network = gru(data)
    found = Nearest(elements=300, among=9, asked=9, shown=9).measure(network, data, 0)
    assert {word for word, _ in found["state"]} == {"ab", "a", "ba", "aab", "b"} and "embedding" not in found
    with torch.no_grad():
        symbols = torch.from_numpy(data.parts["test"][:300].astype(np.int64))[:, None]
        h = torch.cat(network.activities(symbols, network.start(1))[0], -1)[:-1, 0].numpy()
    text = data.vocabulary.decode(symbols[:-1, 0].numpy())
    spaced = " " + text.replace("(", " ").replace(")", " ").replace("\n", " ") + " "
    ends = {
        word: [k for k in range(len(text)) if spaced[: k + 3].endswith(f" {word} ")]
        for word in ("ab", "a", "ba", "aab", "b")
    }
    order = [word for word, _ in found["state"]]
    expected = neighbours(order, [h[ends[word]].mean(0) for word in order], order.index("ab"))
    near = dict(found["state"])["ab"]
    assert [word for word, _ in near] == [word for word, _ in expected]
    assert [cosine for _, cosine in near] == pytest.approx([cosine for _, cosine in expected], abs=2e-3)
