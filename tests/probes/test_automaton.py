"""The automaton of addition, from networks whose states are known."""

import itertools

import numpy as np
import pytest
import torch

from pipeline.datasets.binary_addition import BinaryAddition
from pipeline.models.model import SequenceModel
from pipeline.probes.automaton import ADDER, AdderAutomaton, Automaton, figure, minimized, printed_by, tabulated


class Machine(SequenceModel):
    """A network that is an adder: its state is code[2 carry + bit] of `code` [4, S], and what lies about it is noise.
    `forgets`: the carry is lost where the bit printed before it was 1."""

    device, dtype = torch.device("cpu"), torch.float64

    def __init__(self, data, code, noise=0.0, forgets=False):
        super().__init__(data.reads, data.answers)
        self.code, self.noise, self.forgets = torch.as_tensor(code, dtype=torch.float64), noise, forgets

    def start(self, batch):
        return (self.code[0].expand(1, batch, -1),)

    def forward(self, x, state):
        (point,), z = state, []
        for column in x:
            at = torch.cdist(point[0], self.code).argmin(-1)
            carry = at // 2 * (~(at % 2 == 1) if self.forgets else 1)
            ones = column.sum(-1).long() + carry
            point = self.code[ones // 2 * 2 + ones % 2][None]
            point = point + self.noise * torch.sin(
                torch.arange(point.numel()).reshape(point.shape) * 12.9898 + at[:, None]
            )
            z.append((ones % 2 - 0.5)[:, None].double())
        return torch.stack(z), (point,)


def data(bits=6):
    return BinaryAddition(bits, None, seed=2, episodes=10, held=5)


def test_the_automaton_of_addition_adds_long_numbers():
    rng = np.random.default_rng(0)
    columns = rng.integers(4, size=(200, 3))
    columns[-1] = 0
    for column, printed in zip(columns.T, printed_by(ADDER, columns).T):
        a, b, found = (sum(int(bit) << k for k, bit in enumerate(row)) for row in (column // 2, column % 2, printed))
        assert a + b == found
    assert len(ADDER.moves) == 4


@pytest.mark.parametrize("code", [np.eye(4), [[0.0, 0], [1, 0], [0, 1], [1, 1]]])
def test_it_is_found_again_in_a_network_whose_states_are_its_own(code):
    found = AdderAutomaton(8, 60, 100).measure(Machine(data(), code, noise=0.1), data(), 0)
    assert found["agreed"] == 1.0 and found["adds"] and found["clusters"] == 4
    assert Automaton(**found["automaton"]) == ADDER
    no_carry = [state for state, carry in enumerate(found["carries"]) if not carry]
    assert sorted(ADDER.moves[state][3] in no_carry for state in range(4)) == [False] * 4  # 1+1 always carries
    assert all(ADDER.moves[state][0] in no_carry for state in range(4))  # and 0+0 never


def test_a_network_that_loses_carries_is_told_from_one_that_adds():
    machine = Machine(data(), np.eye(4), forgets=True)
    found = AdderAutomaton(8, 60, 100).measure(machine, data(), 0)
    assert found["agreed"] == 1.0 and not found["adds"]
    assert len(found["automaton"]["moves"]) == 3  # "carry, print 1" is "no carry, print 1"


def test_too_few_states_agree_less():
    found = AdderAutomaton(2, 60, 100).measure(Machine(data(), np.eye(4)), data(), 0)
    assert found["agreed"] < 0.9 and found["clusters"] == 2 and not found["adds"]


def test_the_smallest_automaton_prints_the_same_and_no_two_of_its_states_do():
    """Against all words of columns as long as the automaton has states, which tell apart what can be told apart."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        moves = rng.integers(5, size=(5, 4))
        automaton = Automaton(moves.tolist(), rng.integers(2, size=5).tolist(), rng.integers(5, size=4).tolist())
        words = np.array(list(itertools.product(range(4), repeat=5))).T
        prints = {}
        for state in range(5):  # what it prints, itself first, on every word of 4 columns
            whole = printed_by(automaton._replace(start=[state] * 4), words)
            prints[state] = whole.tobytes()
        reached, waiting = set(), list(automaton.start)
        while waiting:
            state = waiting.pop()
            if state not in reached:
                reached.add(state)
                waiting += automaton.moves[state]
        smallest, became = minimized(automaton)
        assert len(smallest.moves) == len({prints[state] for state in reached})
        assert (printed_by(smallest, words) == printed_by(automaton, words)).all()
        for one, other in itertools.combinations(reached, 2):
            assert (became[one] == became[other]) == (prints[one] == prints[other])
        assert minimized(smallest) == (smallest, list(range(len(smallest.moves))))


def test_the_commonest_transition_and_print_count_and_one_never_seen_goes_where_most_do():
    labels = np.array([[0, 0, 0, 1], [1, 1, 0, 1], [1, 1, 1, 1]])
    columns = np.array([[0, 0, 0, 3], [2, 2, 2, 1], [0, 0, 0, 1]])
    printed = labels == 1
    printed[0, 0] = True  # against two of its kind
    assert tabulated(labels, columns, printed) == Automaton([[1, 1, 1, 1], [1, 1, 1, 1]], [0, 1], [0, 0, 0, 1])


def test_every_transition_is_drawn_with_its_columns():
    found = AdderAutomaton(4, 60, 10).measure(Machine(data(), np.eye(4)), data(), 0)
    texts = [text.get_text() for text in figure(found, "rnn").axes[1].texts]
    arrows = [text for text in texts if "+" in text]
    assert sorted("\n".join(arrows).split("\n")) == sorted(["0+0", "0+1", "1+0", "1+1"] * 4)
    assert sum("carry" in text for text in texts) == 4
