import itertools
import math
import random

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.datasets.space import Symbols
from pipeline.datasets.text import TextWindows
from pipeline.models.ngram import NGram
from pipeline.models.suffixes import grow
from pipeline.runs.settling import build
from tests.conftest import SHARED, composed
from tests.oracles.ngram import KneserNey


def make(V, order):
    return NGram(Symbols(V), Symbols(V), (), order)


def model_of(text, V, order):
    model = make(V, order).double()
    model.update({"text": torch.tensor([symbol + 1 if symbol < V else 0 for symbol in text])})
    return model


def predicted(model, contexts):
    """p of every symbol after each context [Q, V]; unknown symbols fill the place before it."""
    x = torch.full((max(map(len, contexts)) + 1, len(contexts)), model.reads.count)
    for query, context in enumerate(contexts):
        x[len(x) - len(context) :, query] = torch.tensor(context)
    logits, _ = model(x, model.start(len(contexts)))
    return logits[-1].exp()


def random_text(length, V, seed, unknown=False, skew=True):
    draw = random.Random(seed)
    symbols = list(range(V + unknown))
    return draw.choices(symbols, [1 / (1 + symbol) if skew else 1 for symbol in symbols], k=length)


TEXTS = {
    "empty": ([], 3),
    "one symbol": ([1], 3),
    "two symbols": ([2, 0], 3),
    "the same twice": ([1, 1], 2),
    "one again and again": ([0] * 40, 1),
    "one of two": ([1] * 30, 2),
    "unknown alone": ([3, 3, 3], 3),
    "short": (random_text(9, 2, 1), 2),
    "binary": (random_text(300, 2, 2), 2),
    "unknown between": (random_text(250, 3, 3, unknown=True), 3),
    "with unseen": (random_text(200, 4, 4), 6),
    "even": (random_text(400, 5, 5, skew=False), 5),
    "periodic": ([0, 1, 2, 0, 2] * 50, 3),
    "unknown at the ends": ([2, *random_text(60, 2, 6), 2], 2),
    "many": (random_text(600, 40, 7), 40),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("order", [1, 2, 3, 5, 20])
def test_probabilities_are_those_of_the_equations(name, order):
    text, V = TEXTS[name]
    model, oracle = model_of(text, V, order), KneserNey(text, V, order)
    for length, counted in oracle.discounts.items():
        np.testing.assert_allclose(model.discounts[length - 1], counted[1:], rtol=1e-12)
    draw = random.Random(0)
    contexts = [list(context) for size in range(3) for context in itertools.product(range(min(V, 6) + 1), repeat=size)]
    for _ in range(25):
        end, size = draw.randint(0, len(text)), draw.randint(1, 25)
        seen = text[max(0, end - size) : end]
        contexts += [seen, [draw.randrange(V), *seen], [draw.randint(0, V) for _ in range(size)]]
    for ours, context in zip(predicted(model, contexts), contexts, strict=True):
        expected = [oracle.p(symbol, context) for symbol in range(V)]
        assert math.isclose(sum(expected), 1, rel_tol=1e-12) and min(expected) > 0
        np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_numbers_worked_out_by_hand():
    """abaab, order 2: bigrams ab 2, ba 1, aa 1. a comes after 3 symbols (the start, a, b), b after a alone.
    No n_3: discounts 0.5, 1, 1.5."""
    model = model_of([0, 1, 0, 0, 1], 3, 2)
    a, b, c = (3 - 1.5) / 4 + 2 / 4 / 3, (1 - 0.5) / 4 + 2 / 4 / 3, 2 / 4 / 3
    after_a = [(1 - 0.5) / 3 + 0.5 * a, (2 - 1) / 3 + 0.5 * b, 0.5 * c]
    after_b = [0.5 + 0.5 * a, 0.5 * b, 0.5 * c]
    np.testing.assert_allclose(
        predicted(model, [[], [0], [1], [2]]), [[a, b, c], after_a, after_b, [a, b, c]], rtol=1e-12
    )


@pytest.mark.parametrize("V, dtype", [(255, torch.uint8), (256, torch.int16), (40_000, torch.int32)])
def test_large_vocabularies(V, dtype):
    text = [V - 1, 0, V - 2, V - 1, 0, V - 1] * 3
    model, oracle = model_of(text, V, 4), KneserNey(text, V, 4)
    assert model.text.dtype == dtype
    contexts = [[V - 1, 0], [0, V - 1], [V - 2, V - 1, 0], [5], [V, V - 1]]
    for p, context in zip(predicted(model, contexts), contexts, strict=True):
        assert abs(p.sum() - 1) < 1e-12
        for symbol in (0, 1, V - 2, V - 1):
            assert math.isclose(p[symbol], oracle.p(symbol, context), rel_tol=1e-10)


def test_windows_side_by_side_are_the_whole_and_streams_are_independent():
    text = random_text(500, 4, 0)
    model, x = model_of(text, 4, 6), torch.tensor(random_text(60, 4, 1, unknown=True)).view(20, 3)
    whole, end = model(x, model.start(3))
    assert whole.shape == (20, 3, 4) and end[0].shape == (1, 3, 5)
    pieces, state = [], model.start(3)
    for piece in x.split([1, 2, 9, 8]):
        logits, state = model(piece, state)
        pieces.append(logits)
    assert torch.equal(torch.cat(pieces), whole) and torch.equal(state[0], end[0])
    for stream in range(3):
        assert torch.equal(model(x[:, stream : stream + 1], model.start(1))[0], whole[:, stream : stream + 1])
    step = model.stepper(model.start(1))
    assert torch.equal(torch.stack([step(symbol) for symbol in x[:, 0].tolist()]), whole[:, 0])


def counted(model, windows):
    """What a rank counts in a pass, and the nats of its targets before anything is known."""
    statistics, nats = model.zero_statistics(windows.elements), 0.0
    for batch in (windows.at(step) for step in range(len(windows))):
        if not batch.carried:
            state = model.start(batch.inputs.shape[1])
        state, loss = model.accumulate(statistics, batch, state)
        nats += loss.item()
    return statistics, nats


# Streams of one length; of two; where some end before the last window
@pytest.mark.parametrize("length", [1001, 1003, 903])
@pytest.mark.parametrize("unknown", [False, True])
def test_the_shares_of_ranks_add_up_to_the_text(length, unknown):
    V = 4
    text = np.array(random_text(length, V, 0, unknown), np.uint8)
    if unknown:
        text[0] = V
    expected = torch.tensor(np.where(text < V, text + 1, 0), dtype=torch.long)
    for world in (1, 2, 3):
        shares = [counted(make(V, 5), TextWindows(text, V, 6, 25, rank, world)) for rank in range(world)]
        assert torch.equal(sum(statistics["text"] for statistics, _ in shares), expected)
        assert math.isclose(
            sum(nats for _, nats in shares), np.count_nonzero(text[1:] < V) * math.log(V), rel_tol=1e-12
        )


def test_nats_of_a_second_pass_are_those_of_the_equations():
    text, V = random_text(120, 3, 0), 3
    model, oracle = model_of(text, V, 4), KneserNey(text, V, 4)
    statistics, nats = counted(model, TextWindows(np.array(text, np.uint8), V, 1, 20))
    assert torch.equal(statistics["text"], torch.tensor(text) + 1)
    assert math.isclose(nats, -sum(math.log(oracle.p(text[t], text[:t])) for t in range(1, len(text))), rel_tol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pickled", [False, True])
def test_saved_and_loaded_it_is_the_same_and_takes_the_place_of_its_text(dtype, pickled, tmp_path):
    text = random_text(5000, 5, 0)
    model, x = model_of(text, 5, 8).to(dtype), torch.tensor(random_text(50, 5, 1))[:, None]
    torch.save(model if pickled else model.state_dict(), tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size < 5000 + 6000
    loaded = torch.load(tmp_path / "model.pt", weights_only=not pickled)
    again = loaded if pickled else make(5, 8).to(dtype)
    if not pickled:
        again.load_state_dict(loaded)
    logits, _ = again(x, again.start(1))
    assert logits.dtype == dtype
    torch.testing.assert_close(logits, model(x, model.start(1))[0], rtol=1e-6 if dtype == torch.float32 else 0, atol=0)


def test_before_it_has_read_anything_all_symbols_are_alike():
    model = make(7, 20)
    logits, _ = model(torch.tensor([[0, 7], [3, 3]]), model.start(2))
    torch.testing.assert_close(logits, torch.full((2, 2, 7), -math.log(7)))
    assert not any(parameter.requires_grad for parameter in model.parameters()) and model.dtype == torch.float32


def test_no_logit_is_infinite_however_small_the_probability():
    model = model_of([0, 1] * 200, 3, 255)
    model.backoff.fill_(1e-30)
    model.shortest[2] = 1e-30
    logits, _ = model(torch.tensor([0, 1] * 200)[:, None], model.start(1))
    assert logits.isfinite().all() and logits[-1, 0, 2] < -700


@pytest.mark.parametrize("K", [0, 1, 2, 7])
@pytest.mark.parametrize("text", [random_text(150, 3, 0, unknown=True), [1], [3, 1, 3], [1, 1]])
def test_the_tree_has_the_nodes_that_it_says(text, K):
    V = 3
    text = [symbol + 1 if symbol < V else 0 for symbol in text]
    tree = grow(np.array(text, np.uint8), V, K)
    M = len(tree.depth)
    assert (np.diff(tree.keys) > 0).all() and np.array_equal(tree.keys // (V + 1), tree.parent[1:])
    assert (tree.depth[tree.parent[1:]] < tree.depth[1:]).all()
    contexts = {}  # context, last symbol first, 0 at a cut -> follower -> places
    for place, symbol in enumerate(text):
        back = text[max(0, place - K) : place][::-1]
        back = (back + [0] * (place < K))[:K]
        back = back[: back.index(0) + 1] if 0 in back else back
        for size in range(len(back) + 1):
            if symbol:
                contexts.setdefault(tuple(back[:size]), {}).setdefault(symbol, []).append(place)
    expected = {}
    for context, followers in contexts.items():
        longer = [other for other in contexts if len(other) == len(context) + 1 and other[:-1] == context]
        if not longer:
            expected[context] = {symbol: len(places) for symbol, places in followers.items()}
        elif len(longer) > 1 or not context:
            expected[context] = {symbol: sum(symbol in contexts[other] for other in longer) for symbol in followers}
    ours = {}
    for i in range(M):
        pairs = slice(tree.first[i], tree.first[i + 1])
        assert (np.diff(tree.follower[pairs].astype(int)) > 0).all()
        context = tuple(tree.text[tree.place[i] - 1 - back].item() for back in range(tree.depth[i]))
        ours[context] = dict(zip(tree.follower[pairs].tolist(), tree.count[pairs].tolist()))
        if i:
            above = tree.depth[tree.parent[i]]
            assert tree.keys[i - 1] % (V + 1) == context[above]
            assert context[:above] == tuple(
                tree.text[tree.place[tree.parent[i]] - 1 - back].item() for back in range(above)
            )
    assert ours == expected and len(ours) == M


def test_what_does_not_fit_is_refused():
    series = load_data(composed("data=sunspots").data)
    assert NGram.fits(series).startswith("counts symbols, each after those before it: take data=shakespeare")
    text = load_data(composed("data=copying").data)
    assert NGram.fits(text) is None
    text.contiguous = False
    assert "separate sequences: take model=lstm or hmm" in NGram.fits(text)
    with pytest.raises(Refusal, match="the training part has 600,000,000 symbols: take one of at most 536,870,912"):
        make(5, 3).zero_statistics(600_000_000)


def test_the_configuration_is_an_order_of_20():
    cfg = composed("model=ngram", "data=copying")
    model = build(cfg.model, load_data(cfg.data))
    assert (
        isinstance(model, NGram)
        and model.order == 20
        and model.learned_by == ("count",)
        and model.start(2)[0].shape == (1, 2, 19)
    )


@pytest.mark.skipif(not SHARED.exists(), reason=f"no real text in {SHARED}")
def test_real_text():
    text = (SHARED / "tinyshakespeare.txt").read_text()
    letters = sorted(set(text[:40_000]))
    text, V = [letters.index(letter) if letter in letters else len(letters) for letter in text[:60_000]], len(letters)
    model, oracle = model_of(text[:40_000], V, 10), KneserNey(text[:40_000], V, 10)
    assert not any(discounts == [0, 0.5, 1.0, 1.5] for length, discounts in oracle.discounts.items() if length > 2)
    x = torch.tensor(text[40_000:])[:, None]
    logits, _ = model(x, model.start(1))
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(len(x), 1, dtype=torch.double), rtol=1e-12, atol=0)
    for t in random.Random(0).sample(range(len(x) - 1), 300):
        following = text[40_000 + t + 1]
        if following < V:
            assert math.isclose(
                logits[t, 0, following].exp(),
                oracle.p(following, text[40_000 + max(0, t - 30) : 40_000 + t + 1]),
                rel_tol=1e-10,
            )
