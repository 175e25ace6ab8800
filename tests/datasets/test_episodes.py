"""Episodes are functions of the seed, the part and their number, whatever batch, rank or call they are read in."""

import math
from functools import cached_property

import numpy as np
import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.batch import Batch
from pipeline.datasets.episodes import (
    KEPT_BLOCKS,
    BlockEpisodes,
    Episodes,
    _under_one_another,
    as_sequence,
    knowing_nothing,
    side_by_side,
)
from pipeline.datasets.space import Bits, Reals, Symbols
from tests.datasets.problems import Adding, Counting, Latch, Quadrant, Shift, Sum

PROBLEMS = {
    "adding": lambda **more: Adding(longest=7, tolerance=0.1, **{"seed": 3, "episodes": 20, "held": 9, **more}),
    **{
        problem.name: lambda problem=problem, **more: problem(**{"seed": 3, "episodes": 20, "held": 9, **more})
        for problem in (Latch, Sum, Quadrant, Shift, Counting)
    },
}
B = 4


@pytest.fixture(params=PROBLEMS)
def problem(request, monkeypatch):
    monkeypatch.setattr("pipeline.datasets.episodes.BLOCK", 7)  # no multiple of a batch, so that batches straddle two
    return PROBLEMS[request.param]()


def equal(one: Batch, other: Batch) -> bool:
    def tensors(batch):
        return [batch.inputs, batch.targets, *batch.given, *([] if batch.positions is None else [batch.positions])]

    return (one.count, one.carried) == (other.count, other.carried) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(-9.0), b.nan_to_num(-9.0))
        for a, b in zip(tensors(one), tensors(other), strict=True)
    )


def shown(data, batch: Batch) -> set[str]:
    """Each sequence of a batch, without what follows its end."""
    found = set()
    for b in range(batch.inputs.shape[1]):
        last = int(data.answers.asked(batch.targets)[:, b].nonzero().max()) + 1
        found.add(repr([part[:last, b].tolist() for part in batch[:2]] + [part[b].tolist() for part in batch.given]))
    return found


def test_a_step_always_reads_the_same_and_no_two_steps_do(problem):
    batches, again = problem.training(B, None), problem.training(B, None)
    there, back = [batches.at(step) for step in range(12)], [again.at(step) for step in reversed(range(12))]
    assert all(map(equal, there, reversed(back)))
    if isinstance(problem.reads, Reals):  # of few symbols an episode may come twice
        assert len(set().union(*(shown(problem, batch) for batch in there))) == 12 * B


def test_the_shares_of_two_ranks_are_the_batch_of_one(problem):
    alone, *ranks = problem.training(B, None), *(problem.training(B, None, rank, 2) for rank in range(2))
    for step in (0, 3, 11):
        whole, parts = alone.at(step), [rank.at(step) for rank in ranks]
        joined = Batch(
            torch.cat([part.inputs for part in parts], 1),
            torch.cat([part.targets for part in parts], 1),
            parts[1].count,
            given=tuple(map(torch.cat, zip(*(part.given for part in parts)))),
            positions=torch.cat([part.positions for part in parts], 1),
        )
        assert equal(whole, joined) and whole.count == int(problem.answers.entries(whole.targets).sum()) > 0
    assert {len(part) for part in (alone, *ranks)} == {5} and {part.nothing for part in (alone, *ranks)} == {
        alone.nothing
    }
    with pytest.raises(Refusal, match="trainer.batch=5 cannot be shared by 2 devices"):
        problem.training(5, None, 0, 2)


def test_parts_and_seeds_have_episodes_of_their_own():
    problem = PROBLEMS["adding"](held=20)
    read = [shown(problem, problem.training(20, None).at(0))]
    read += [shown(problem, batch) for part in ("validation", "test") for batch in problem.held_out(part)]
    read += [shown(other, next(other.held_out("test"))) for other in [PROBLEMS["adding"](held=20, seed=4)]]
    assert [len(one) for one in read] == [20] * 4 and len(set().union(*read)) == 80


def test_an_episode_does_not_depend_on_the_batch_that_it_is_read_in():
    problem = PROBLEMS["quadrant"]()
    small, large = problem.training(2, None), problem.training(6, None)
    assert set().union(*(shown(problem, small.at(step)) for step in range(3))) == shown(problem, large.at(0))


def test_positions_are_those_of_every_pass_and_below_elements(problem):
    batches, places = problem.training(B, None), []
    for number in range(2):
        every = []
        for within in range(len(batches)):
            batch = batches.at(number * len(batches) + within)
            assert batch.positions.shape == batch.inputs.shape[:2] and batch.positions.dtype == torch.int64
            assert 0 <= batch.positions.min() and batch.positions.max() < batches.elements
            every += batch.positions[problem.answers.asked(batch.targets)].tolist()
        assert len(set(every)) == len(every)
        places.append(batch.positions[0])
    assert torch.equal(*places)


@pytest.mark.parametrize("at_once", [500, 4])
def test_held_out_episodes_are_asked_once_each(problem, monkeypatch, at_once):
    monkeypatch.setattr("pipeline.datasets.episodes.AT_ONCE", at_once)
    batches = list(problem.held_out("validation"))
    assert sum(batch.inputs.shape[1] for batch in batches) == 9 and not any(batch.carried for batch in batches)
    singly = [side_by_side(problem, [problem.drawn("validation", k)]) for k in range(9)]
    assert set().union(*(shown(problem, batch) for batch in batches)) == set().union(
        *(shown(problem, batch) for batch in singly)
    )
    for batch in batches:
        assert batch.count == int(problem.answers.entries(batch.targets).sum())
    some = list(problem.held_out("validation", 2 * problem.longest + 1))
    assert sum(batch.inputs.shape[1] for batch in some) == 2
    assert [batch.inputs.shape[1] for batch in problem.held_out("test", 1)] == [1]


def test_sequences_of_unlike_lengths_side_by_side():
    data = Latch(0, 5, 5)
    data.given = (Symbols(9), Reals(2), Symbols(3))  # a symbol, numbers, and a sequence
    sequences = [
        as_sequence(data, [0, 2, 3], [2, 2, 0], 7, [0.5, 1.5], [1, 2]),
        as_sequence(data, [1], [1], 8, [2.5, 3.5], [0, 1, 2, 0]),
    ]
    batch = side_by_side(data, sequences, firsts=[10, 20])
    assert batch.inputs.T.tolist() == [[0, 2, 3], [1, 4, 4]] and batch.targets.T.tolist() == [[2, 2, 0], [1, 2, 2]]
    assert batch.positions.T.tolist() == [[10, 11, 12], [20, 0, 0]] and batch.count == 2
    labels, numbers, source = batch.given
    assert labels.tolist() == [7, 8] and numbers.tolist() == [[0.5, 1.5], [2.5, 3.5]]
    assert source.tolist() == [[1, 2, 3, 3], [0, 1, 2, 0]]
    own = side_by_side(data, sequences, slice(0, 1))
    assert own.given[2].tolist() == [[1, 2, 3, 3]] and own.inputs.shape == (3, 1) and own.count == 2


class Loose(Latch):
    def __init__(self, **more):
        super().__init__(0, 4, 4)
        vars(self).update(more)

    @cached_property
    def table(self):
        return 3


def test_the_fingerprint_tells_settings_apart_and_nothing_else():
    def of(problem) -> str:
        return problem.card["fingerprint"]

    one = PROBLEMS["adding"]()
    next(one.held_out("test"))
    assert of(one) == of(PROBLEMS["adding"]())
    settings = [{"seed": 4}, {"episodes": 21}, {"held": 8}]
    others = [PROBLEMS["adding"](**more) for more in settings] + [
        Adding(longest=8, tolerance=0.1, seed=3, episodes=20, held=9),
        Adding(longest=7, tolerance=0.2, seed=3, episodes=20, held=9),
        Latch(3, 20, 9),
        Sum(3, 20, 9),
    ]
    assert len({of(other) for other in [one, *others]}) == 8
    alike = Loose()
    assert alike.table == 3 and of(alike) == of(Loose()) == of(Loose(_memo=object()))
    kinds = [
        {},
        {"lengths": [1, 2]},
        {"lengths": [1, 3]},
        {"at": np.arange(3)},
        {"at": np.arange(3.0)},
        {"at": "0 1 2"},
    ]
    assert len({of(Loose(**kind)) for kind in kinds}) == 6
    assert of(Loose(rate=2)) == of(Loose(rate=2.0)) == of(Loose(rate=np.int64(2))) != of(Loose(rate=2.5))
    with pytest.raises(TypeError, match="settings.rule is a function, .* override Episodes.settings"):
        of(Loose(rule=of))


def test_knowing_nothing_costs_what_a_network_costs_at_first():
    assert knowing_nothing(Symbols(7), ()) == math.log(7) and knowing_nothing(Bits(3), ()) == math.log(2)
    nan = math.nan
    parts = [[[1.0, nan], [2.0, nan]], [[nan, nan], [4.0, 10.0]], [[3.0, nan], [nan, 30.0]]]
    assert knowing_nothing(Reals(2), map(np.array, parts)) == pytest.approx((1 + 4 + 16 + 100 + 9 + 900) / 6)
    zero, never = np.zeros((3, 1)), Reals(2).blank(5).numpy()
    assert knowing_nothing(Reals(1), [zero]) == knowing_nothing(Reals(2), [never]) == 1.0
    drawn = [PROBLEMS["adding"]().drawn("train", k).targets for k in range(512)]
    assert PROBLEMS["adding"]().training(B, None).nothing == pytest.approx(np.nanmean(np.concatenate(drawn) ** 2))


class Told:
    """A network that answers what it is told, [T] or [T, O]; it is being trained."""

    device, dtype, training = torch.device("cpu"), torch.float64, True

    def __init__(self, answers):
        self.answers = answers

    def start(self, batch, *given):
        assert not self.training and all(len(part) == batch for part in given)
        return ()

    def __call__(self, x, state):
        z = torch.tensor(self.answers, dtype=torch.float64)
        return (z if z.dim() == 2 else torch.nn.functional.one_hot(z.long(), 4).double())[:, None], state

    def train(self, mode=True):
        self.training = mode

    def eval(self):
        self.training = False


def written(problem, drawing: tuple, answers: list, length: int = 50) -> list[str]:
    problem.drawn = lambda part, number: as_sequence(problem, *drawing)
    network = Told(answers)
    text = "".join(problem.write(network, "", 1.0, length, torch.Generator()))
    assert network.training
    blocks = text.split("\n\n")
    assert len(set(blocks[:-1])) == 1 and blocks[-1] == "" and len(blocks) - 1 == min(8, problem.held)
    return blocks[0].split("\n")


def test_what_is_written_stands_under_what_it_answers():
    nan = math.nan
    assert written(PROBLEMS["latch"](), ([1, 2, 3], [2, 2, 1]), [0, 3, 0]) == [
        "read    1 2 3",
        "answer  · · 0",
        "right   · · 1",
    ]
    assert written(PROBLEMS["adding"](), ([[0.25, 1], [0.5, 1.0]], [[nan], [0.75]]), [[9.0], [0.7512]]) == [
        "read    0.25,1  0.5,1",
        "answer       ·  0.751",
        "right        ·   0.75",
    ]
    assert written(PROBLEMS["sum"](), ([[1, 0], [1, 1]], [[1], [0]]), [[2.0], [-0.1]]) == [
        "read    10 11",
        "answer   1  0",
        "right    1  0",
    ]
    assert written(PROBLEMS["shift"](held=3), ([0, 3], [1, 0], [0, 2, 0, 0]), [1, 0]) == [
        "given   0,2,0,0",
        "read    0 3",
        "answer  1 0",
        "right   1 0",
    ]


def test_of_a_long_episode_the_last_steps_that_are_asked_are_written():
    inputs, targets = [2] * 50 + [3] * 250, [2] * 260 + [1] + [2] * 39
    problem = PROBLEMS["latch"]()
    lines = written(problem, (inputs, targets), [0] * 300, 12)
    assert lines == ["read    " + "3 " * 11 + "3", "answer  " + "· " * 11 + "0", "right   " + "· " * 11 + "1"]
    lines = written(problem, (inputs, targets), [0] * 300, 400)
    assert [line.split()[0] for line in lines] == ["read", "answer", "right"] * 6 and max(map(len, lines)) <= 110
    assert sum(len(line.split()) - 1 for line in lines) == 3 * 261
    assert "".join(problem.write(Told([0] * 300), "", 1.0, 0, torch.Generator())) == ""


def test_of_steps_that_take_a_line_each_those_that_ask_nothing_are_counted():
    wide = [f"{t},{'9' * 60}" for t in range(8)]
    rows = {"read": wide, "answer": [*"···1·2··"], "right": [*"···1·3··"]}
    lines = [(line[:8].strip(), line[8:].strip()) for line in _under_one_another(rows)]
    groups = [[("read", wide[t]), ("answer", rows["answer"][t]), ("right", rows["right"][t])] for t in (0, 3, 5)]
    assert lines == [*groups[0], ("", "… 2 more"), *groups[1], ("", "… 1 more"), *groups[2], ("", "… 2 more")]


def test_a_network_is_in_evaluation_mode_only_while_it_answers():
    """So it goes on training where nobody reads on; `Told` answers in evaluation mode alone."""
    network, problem = Told([0, 0]), PROBLEMS["latch"]()
    problem.drawn = lambda part, number: as_sequence(problem, [0, 2], [2, 0])
    pieces = problem.write(network, "", 1.0, 9, torch.Generator())
    next(pieces)
    assert network.training


def test_a_problem_may_spell_its_symbols():
    class Spelled(Latch):
        def spell(self, space, elements):
            return ["ABxy·"[one] if space is self.reads else "AB·"[one] for one in elements]

    lines = written(Spelled(0, 5, 5), ([1, 2, 3], [2, 2, 1]), [0, 0, 0])
    assert lines == ["read    B x y", "answer  · · A", "right   · · B"]


class Wrong(Episodes):
    name, reads, answers, longest = "wrong", Reals(2), Symbols(3), 4

    def draw(self, rng):
        return self.drawing


def test_a_problem_that_draws_what_it_does_not_say_is_told_so():
    wrong = Wrong(0, 1, 1)
    x, y = np.zeros((4, 2)), [3, 3, 3, 1]
    for drawing, said in (
        ((x[:, 0], y), r"Reals.*\(4,\) does not end with the width 2"),
        ((x[:3], y), r"inputs \(3, 2\) and targets \(4,\) are no sequences of one length"),
        ((x[:0], np.zeros(0, int)), "above 0"),
        ((x, [3.0, 1.0, 1.0, 1.0]), "symbols are whole numbers, not float64"),
        ((x, [3, 4, 1, 1]), "symbols from 1 to 4"),
        ((x, [[1]] * 4), r"inputs \(4, 2\) and targets \(4, 1\) are no sequences"),
        ((np.zeros((5, 2)), [3] * 5), "wrong draws 5 steps, more than its longest=4"),
        ((x, y, 1), "zip"),
    ):
        wrong.drawing = drawing
        with pytest.raises(ValueError, match=said):
            next(wrong.held_out("test"))
    wrong.drawing = (x.astype(int), y)  # numbers may be drawn as whole ones
    assert wrong.drawn("test", 0).inputs.dtype == np.float64
    inputs = wrong.drawn("test", 0).inputs
    inputs += 1
    assert (x == 0).all()  # a copy


# ---- many episodes drawn at once ----


def counting(monkeypatch) -> Counting:
    monkeypatch.setattr("pipeline.datasets.episodes.BLOCK", 7)
    return Counting(3, 20, 40)


class Halves(BlockEpisodes):
    """Symbols(3) -> Reals(2), of which any may be blank."""

    name, reads, answers, longest = "halves", Symbols(3), Reals(2), 5

    def draw_many(self, rng, count):
        numbers = rng.random((self.longest, count, 2))
        return rng.integers(3, size=(self.longest, count)), np.where(numbers < 0.4, math.nan, numbers)


@pytest.mark.parametrize("kind", [Counting, Halves])
def test_blocks_are_put_side_by_side_as_single_episodes_are(monkeypatch, kind):
    monkeypatch.setattr("pipeline.datasets.episodes.BLOCK", 7)
    problem = kind(3, 20, 40)
    for numbers, own, place in (
        (range(5, 6), slice(None), 2),
        (range(3, 24), slice(7, 14), 0),
        (range(7, 14), slice(None), None),
        (range(0, 40), slice(20, 40), 9),
    ):
        singly = Episodes.drawn_side_by_side(problem, "test", numbers, own, place)
        assert equal(problem.drawn_side_by_side("test", numbers, own, place), singly)
        assert singly.inputs.shape[1] == len(numbers[own])


def test_a_block_is_what_is_drawn_from_its_key_up_to_the_last_answer(monkeypatch):
    problem = counting(monkeypatch)
    key = np.random.SeedSequence(3, spawn_key=(2, 4))
    inputs, targets, kinds, levels = problem.draw_many(np.random.Generator(np.random.PCG64(key)), 7)
    lengths = set()
    for k in range(7):
        steps = max(t for t in range(6) if targets[t, k] != 9) + 1
        sequence = problem.drawn("test", 4 * 7 + k)
        assert (sequence.inputs == inputs[:steps, k]).all() and (sequence.targets == targets[:steps, k]).all()
        assert len(sequence.inputs) == steps and [one.tolist() for one in sequence.given] == [kinds[k], [levels[k, 0]]]
        lengths.add(steps)
    assert len(lengths) > 2


def test_blocks_are_kept_and_not_given_away(monkeypatch):
    problem, drawn = counting(monkeypatch), []
    monkeypatch.setattr(Counting, "draw_many", lambda *given, draw=Counting.draw_many: drawn.append(1) or draw(*given))
    batches = problem.training(7, None)
    before = [batches.at(step) for step in range(KEPT_BLOCKS)]
    assert len(drawn) == KEPT_BLOCKS
    for batch in (batches.at(1), next(problem.held_out("validation"))):
        batch.inputs.fill_(0), batch.targets.fill_(0), batch.given[1].fill_(0)
    sequence = problem.drawn("train", 9)
    sequence.inputs[:] = sequence.given[1][:] = 0
    assert equal(batches.at(1), before[1]) and KEPT_BLOCKS < len(drawn) and len(problem._blocks) == KEPT_BLOCKS
    assert problem.card == counting(monkeypatch).card


class Drawn(BlockEpisodes):
    name, reads, answers, longest = "drawn", Reals(2), Symbols(3), 4

    def draw_many(self, rng, count):
        return self.drawing


def test_a_block_that_is_not_what_its_problem_says_is_told_so(monkeypatch):
    monkeypatch.setattr("pipeline.datasets.episodes.BLOCK", 5)
    x, y = np.zeros((4, 5, 2)), np.full((4, 5), 3)
    for drawing, said in (
        ((x[:3], y), r"drawn draws \(3, 5, 2\) where 4 steps of 5 episodes"),
        ((x.swapaxes(0, 1), y), r"\(5, 4, 2\) where"),
        ((x, y[:, :4]), r"\(4, 4\) where"),
        ((x[..., :1], y), "does not end with the width 2"),
        ((x, y + 1), "symbols from 4 to 4"),
        ((x, y, y), "zip"),
    ):
        problem = Drawn(0, 1, 1)
        problem.drawing = drawing
        with pytest.raises(ValueError, match=said):
            problem.drawn("test", 0)
    problem = Drawn(0, 1, 1)
    problem.drawing = x.astype(int), y  # whole numbers, and nothing asked: as long as can be
    assert problem.drawn("test", 0).inputs.dtype == np.float64 and len(problem.drawn("test", 4).inputs) == 4
