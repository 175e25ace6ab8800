"""One held-out loop for all kinds of data, against reading element by element and against formulas."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.cells.lstm import LSTM
from pipeline.command.refusal import Refusal
from pipeline.corpora.prepared import Prepared
from pipeline.corpora.vocabulary import Vocabulary
from pipeline.datasets import text as texts
from pipeline.datasets.batch import Reading
from pipeline.datasets.ragged import Sequences
from pipeline.datasets.series import BEFORE, Series
from pipeline.datasets.space import Bits, Reals, Symbols
from pipeline.datasets.text import Text
from pipeline.models.model import SequenceModel
from pipeline.models.recurrent import RecurrentNetwork
from pipeline.probes.held_out import held_out

V = 5


def lstm(reads, answers, given=(), seed=0):
    """In training mode, with dropout, which evaluation must not see."""
    torch.manual_seed(seed)
    network = RecurrentNetwork(
        reads,
        answers,
        given,
        cell=LSTM,
        layers=2,
        hidden=6,
        embedding=None,
        dropout=0.5,
        skip_connections=False,
        initial_state=0.0,
        learned_initial_state=False,
    )
    return network.double().train()


def text_of(symbols, part="test"):
    """A text whose held-out part is `symbols`."""
    parts = {"train": symbols[:50], "validation": symbols[:50], part: symbols}
    card = {"corpus": "made", "split": "80-10-10", "counts": {name: len(array) for name, array in parts.items()}}
    return Text(Prepared(parts, Vocabulary("characters", list(range(97, 97 + V))), card))


def one_by_one(network, symbols):
    """Read symbol by symbol from the start state: nats and right answers over the known targets, and how many."""
    network.eval()
    state, nats, right, asked = network.start(1), 0.0, 0, 0
    for symbol, target in zip(symbols[:-1].tolist(), symbols[1:].tolist()):
        with torch.no_grad():
            logits, state = network(torch.tensor([[symbol]]), state)
        if target != V:
            nats -= torch.log_softmax(logits[0, 0], 0)[target].item()
            right += int(logits[0, 0].argmax()) == target
            asked += 1
    network.train()
    return nats / asked, right / asked, asked


@pytest.mark.parametrize("n, streams", [(37, 1), (900, 7)])
@pytest.mark.parametrize("unknown", [False, True])
def test_a_text_is_judged_as_if_read_symbol_by_symbol(monkeypatch, n, streams, unknown):
    monkeypatch.setattr(texts, "STREAMS", 7)
    monkeypatch.setattr(texts.Text, "context", 30)
    monkeypatch.setattr(texts, "LENGTH", 11)
    symbols = np.random.default_rng(n).integers(0, V + unknown, n).astype(np.uint8)
    network, data = lstm(Symbols(V), Symbols(V)), text_of(symbols)
    assert max(batch.inputs.shape[1] for batch in data.held_out("test")) == streams
    nats, right, asked = one_by_one(network, symbols)
    found = held_out(network, data, "test")
    assert found.loss == pytest.approx(nats, rel=1e-12 if streams == 1 else 1e-7)
    assert (found.right, found.asked) == (pytest.approx(right, rel=1e-12), asked)
    assert network.training  # as it was


@pytest.mark.parametrize("n, restart, context", [(901, 40, 7), (30, 40, 7), (901, 40, 30), (202, 2, 1)])
def test_where_states_start_anew_every_target_is_asked_once_and_none_too_late(monkeypatch, n, restart, context):
    """By a symbol that says where it stands: its place modulo a number that no stream is as long as."""
    monkeypatch.setattr(texts, "STREAMS", 7)
    monkeypatch.setattr(texts, "LENGTH", 11)
    places = np.arange(n).astype(np.int64)
    data = text_of(places.astype(np.uint16))
    data.reads = data.answers = Symbols(n)
    asked, ages = [], []
    first = 0
    for batch in data.held_out("test", None, Reading(context, restart)):
        first = first if batch.carried else 0
        age = batch.inputs * 0 + torch.arange(first, first := first + len(batch.inputs))[:, None]
        is_asked = batch.targets != n
        assert torch.equal(batch.targets[is_asked], batch.inputs[is_asked] + 1)
        asked += batch.targets[is_asked].tolist()
        ages += age[is_asked & (batch.targets > restart)].tolist()
    assert sorted(asked) == list(range(1, n))
    assert all(min(context, restart // 2) <= age < restart for age in ages)


def test_a_series_with_states_that_start_anew_is_asked_once():
    values = np.arange(2000.0)[:, None]
    data = Series("made", values, np.empty((2000, 0)), "50-25-25", False)
    asked = []
    for batch in data.held_out("test", None, Reading(None, 40)):
        assert len(batch.inputs) <= 40 and not batch.carried
        asked += batch.targets[~batch.targets.isnan()].tolist()
    assert asked == list(np.arange(1500.0, 2000.0))


def test_the_first_elements_of_a_text_are_judged_alone():
    symbols = np.random.default_rng(3).integers(0, V, 400).astype(np.uint8)
    network = lstm(Symbols(V), Symbols(V))
    found = held_out(network, text_of(symbols), "test", 101)
    nats, right, asked = one_by_one(network, symbols[:101])
    assert found == pytest.approx((nats, right, asked), rel=1e-12) and asked == 100


def test_a_network_that_knows_nothing_costs_log_v():
    network = lstm(Symbols(V), Symbols(V))
    with torch.no_grad():
        network.readout.weight.zero_()
        network.readout.bias.zero_()
    symbols = np.random.default_rng(0).integers(0, V, 5000).astype(np.uint8)
    found = held_out(network, text_of(symbols), "test")
    # All logits are alike: argmax answers with the first symbol.
    assert found.loss == pytest.approx(math.log(V), rel=1e-12) and found.asked == 4999
    assert found.right == pytest.approx((symbols[1:] == 0).mean(), rel=1e-12)


class Linear(SequenceModel):
    """z_t = x_t w + carry s_{t-1}, s_t = z_t: a state, so that it shows when one is lost."""

    def __init__(self, reads, answers, given=(), seed=0):
        super().__init__(reads, answers, given)
        torch.manual_seed(seed)
        self.w = nn.Parameter(torch.randn(reads.width, answers.width, dtype=torch.float64))
        self.seen_training = []

    def start(self, batch, *given):
        return (
            torch.zeros(1, batch, self.answers.width, dtype=torch.float64)
            + sum(part.sum(-1)[:, None] for part in given),
        )

    def forward(self, x, state):
        self.seen_training.append(self.training)
        (s,), found = state, []
        if isinstance(self.reads, Symbols):
            x = nn.functional.one_hot(x, self.reads.width + 1)[..., :-1].double()
        for one in x:
            s = (one @ self.w + 0.5 * s[0])[None]
            found.append(s[0])
        return torch.stack(found), (s,)


@pytest.mark.parametrize("length, driven", [(300, False), (300, True), (20_000, True)])
def test_a_series_is_judged_by_the_mean_squared_error_of_one_step_ahead(length, driven):
    """In plain numpy: from BEFORE elements before the part on, y^_{t+1} = [y_t, u_{t+1}] w + y^_t / 2."""
    rng = np.random.default_rng(0)
    values, inputs = rng.normal(size=(length, 2)), rng.normal(size=(length, int(driven)))
    values[rng.random(values.shape) < 0.1] = np.nan
    data = Series("made", values, inputs, "70-15-15", standardize=True)
    network = Linear(data.reads, data.answers)
    w = network.w.detach().numpy()
    start, stop = length * 85 // 100, length
    train = values[: length * 70 // 100]
    y = (values - np.nanmean(train, axis=0)) / np.nanstd(train, axis=0)
    # A gap is read as NaN; this model would hand it on, so it reads zeros there, as the numpy below does.
    network.forward = lambda x, state, forward=network.forward: forward(x.nan_to_num(), state)
    foretold, errors = np.zeros(2), []
    for t in range(max(0, start - BEFORE), stop - 1):
        foretold = np.concatenate([np.nan_to_num(y[t]), inputs[t + 1]]) @ w + 0.5 * foretold
        if t + 1 >= start:
            errors += [(foretold[d] - y[t + 1, d]) ** 2 for d in range(2) if not np.isnan(y[t + 1, d])]
    found = held_out(network, data, "test")
    assert found == (pytest.approx(np.mean(errors), rel=1e-12), None, len(errors))
    assert network.seen_training == [False]


def ragged(reads, answers, seed=0, given=()):
    """Sequences of unlike lengths, asked at their last step alone, in one part."""
    rng = np.random.default_rng(seed)

    def element(space, steps):
        if isinstance(space, Symbols):
            return rng.integers(0, space.count, steps)
        return (
            rng.integers(0, 2, (steps, space.width)).astype(float)
            if isinstance(space, Bits)
            else rng.normal(size=(steps, space.width))
        )

    sequences = []
    for steps in rng.integers(1, 9, size=1203):  # several batches
        targets = answers.blank(int(steps))
        targets[-1] = torch.as_tensor(element(answers, 1))[0]
        sequences.append((element(reads, steps), targets, *(rng.normal(size=space.width) for space in given)))
    data = Sequences("made", reads, answers, {"train": sequences[:3], "validation": sequences}, 0, given)
    data.made = sequences
    return data


@pytest.mark.parametrize(
    "reads, answers, given",
    [
        (Symbols(4), Symbols(3), ()),
        (Bits(2), Bits(3), ()),
        (Reals(3), Symbols(4), ()),
        (Symbols(4), Reals(2, tolerance=0.5), ()),
        (Symbols(4), Symbols(3), (Reals(2),)),
    ],
    ids=str,
)
def test_answers_are_other_than_what_is_read_and_asked_at_the_last_step(reads, answers, given):
    """Each sequence by itself, from its own start, judged by formulas written out here."""
    data = ragged(reads, answers, given=given)
    network = Linear(reads, answers, given)
    losses, rights = [], []
    for inputs, targets, *more in data.made:
        with torch.no_grad():
            x, more = torch.as_tensor(inputs), [torch.as_tensor(part)[None] for part in more]
            z, _ = network(x[:, None], network.start(1, *more))
        z, y = z[-1, 0].numpy(), targets[-1].numpy()
        if isinstance(answers, Symbols):
            losses.append(np.log(np.exp(z).sum()) - z[y])
            rights.append(z.argmax() == y)
        elif isinstance(answers, Bits):
            p = 1 / (1 + np.exp(-z))
            losses += list(-np.log(np.where(y == 1, p, 1 - p)))
            rights.append(((p > 0.5) == y).all())
        else:
            losses += list((z - y) ** 2)
            rights.append((abs(z - y) < 0.5).all())
    found = held_out(network, data, "validation")
    assert found == pytest.approx((np.mean(losses), np.mean(rights), len(losses)), rel=1e-10)
    assert len(data.made) == len(rights) == 1203 and 0.02 < found.right < 0.98


def test_the_state_is_carried_where_the_data_say_so_and_nowhere_else(monkeypatch):
    """Windows of one stream against one long window; and batches that each start anew."""
    symbols = np.random.default_rng(0).integers(0, V, 200).astype(np.uint8)
    network, data = Linear(Symbols(V), Symbols(V)), text_of(symbols)
    whole = held_out(network, data, "test").loss
    monkeypatch.setattr(texts, "LENGTH", 7)
    assert held_out(network, data, "test").loss == pytest.approx(whole, rel=1e-12)
    cut = list(data.held_out("test"))
    data.held_out = lambda part, most, reading: (batch._replace(carried=False) for batch in cut)
    assert abs(held_out(network, data, "test").loss - whole) > 1e-4


def test_where_nothing_is_asked_there_is_a_refusal_that_says_so():
    data = text_of(np.full(50, V, dtype=np.uint8))
    with pytest.raises(Refusal, match=r"^data=made: nothing is asked in its test part.*another split$"):
        held_out(lstm(Symbols(V), Symbols(V)), data, "test")


def test_a_network_that_fails_is_left_in_the_mode_that_it_had():
    network, data = Linear(Symbols(V), Symbols(V)).train(), text_of(np.zeros(50, dtype=np.uint8))
    network.forward = lambda x, state: 1 / 0
    with pytest.raises(ZeroDivisionError):
        held_out(network, data, "test")
    assert network.training


@pytest.mark.parametrize("streams, world", [(7, 3), (1, 3)])
def test_ranks_share_out_the_sequences_and_judge_as_one(monkeypatch, streams, world):
    """Also where there are fewer of them than ranks."""
    monkeypatch.setattr(texts, "STREAMS", streams)
    monkeypatch.setattr(texts.Text, "context", 30)
    network = lstm(Symbols(V), Symbols(V))
    data = text_of(np.random.default_rng(0).integers(0, V + 1, 900).astype(np.uint8))
    read, shares, forward = [], [], network.forward

    def noted(x, state):
        read.append(x.numel())
        return forward(x, state)

    network.forward = noted
    whole = held_out(network, data, "test")
    once = sum(read)
    for rank in range(world):
        held_out(network, data, "test", own=(rank, world), total=lambda share: shares.append(share) or torch.ones(4))
    assert sum(read) == 2 * once
    found = held_out(network, data, "test", own=(0, world), total=lambda share: sum(shares))
    assert found.loss == pytest.approx(whole.loss, rel=1e-12) and found[1:] == whole[1:]
