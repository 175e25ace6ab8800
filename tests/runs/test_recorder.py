"""When several ranks look at signals and the clock: seldom, and at the same steps."""

from types import SimpleNamespace

import pytest
import torch

from pipeline.runs import recorder
from pipeline.runs.recorder import STRETCH, Recorder


class Ranks:
    """Two ranks in turn; what the other one last said is reduced with what one says."""

    def __init__(self, monkeypatch, seconds: tuple[float, float], record_every: int):
        self.clock, self.seconds, self.said = [0.0, 0.0], seconds, [torch.zeros(0), torch.zeros(0)]
        self.turn, self.looks, self.all = 0, ([], []), []
        monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: self.clock[self.turn]))
        sample = SimpleNamespace(every=None, at=[])
        settings = SimpleNamespace(
            steps=10**6,
            record_every=record_every,
            validate_every=None,
            checkpoint_every=None,
            weights_at=[],
            seconds=None,
            sample=sample,
        )
        for _ in range(2):
            one = Recorder.__new__(Recorder)
            one.settings, one.asked, one.together = settings, 0, True
            one.paused, one.looked, one.next_look = 0.0, 0, 1
            self.all.append(one)

    def train(self, steps: range) -> None:
        """Each step; both look after the same ones, or this fails."""
        for step in steps:
            pauses = []
            for rank, one in enumerate(self.all):
                self.turn = rank
                self.clock[rank] += self.seconds[rank]
                pauses.append(one._pauses(step))
            assert pauses[0] == pauses[1]
            if pauses[0]:
                self._look(step)

    def _look(self, step: int) -> None:
        given = []
        for together in (False, True):  # what each says, then what both learn
            for rank, one in enumerate(self.all):
                self.turn = rank
                now = dict(vars(one))
                reduce = self._reduced(given, together)
                one._look(SimpleNamespace(strategy=SimpleNamespace(root_device="cpu", reduce=reduce)), step)
                if not together:
                    vars(one).update(now)
                else:
                    one.paused = self.clock[rank]
                    self.looks[rank].append(step)

    def _reduced(self, given: list, together: bool):
        def reduce(part, reduce_op):
            assert reduce_op == "max"
            given.append(part)
            return torch.stack(given[:2]).amax(0) if together else part

        return reduce


def test_ranks_look_as_seldom_as_the_slowest_one_needs_and_all_at_the_same_steps(monkeypatch):
    ranks = Ranks(monkeypatch, seconds=(0.001, 0.002), record_every=10**5)
    ranks.train(range(1, 2001))
    looks = ranks.looks[0]
    assert looks == ranks.looks[1] and len(looks) < 60  # of 2,000 steps
    gaps = [after - before for before, after in zip(looks, looks[1:])]
    assert max(gaps) <= STRETCH / 0.002 + 1 and gaps[-1] >= STRETCH / 0.002 / 2


def test_what_comes_to_one_rank_all_learn_at_the_next_look(monkeypatch):
    ranks = Ranks(monkeypatch, seconds=(0.001, 0.001), record_every=10**5)
    ranks.train(range(1, 500))
    ranks.all[1].asked = 15
    ranks.train(range(500, 700))
    assert [one.signal for one in ranks.all] == [15, 15] and ranks.looks[0] == ranks.looks[1]


@pytest.mark.parametrize("every", [7, 1000])
def test_where_something_is_due_all_look(monkeypatch, every):
    ranks = Ranks(monkeypatch, seconds=(0.001, 0.001), record_every=every)
    ranks.train(range(1, 2001))
    assert set(range(every, 2001, every)) <= set(ranks.looks[0])
