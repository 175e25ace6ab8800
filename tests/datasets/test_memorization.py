"""A message, blanks, a cue, and the message again."""

import re
from collections import Counter

import pytest

from pipeline.datasets.memorization import Memorization


@pytest.mark.parametrize("message, alphabet, lag", [(5, 2, 7), (10, 5, 0)])
def test_the_message_is_asked_again_after_the_cue(message, alphabet, lag):
    problems = [Memorization(message, alphabet, lag, asked, 0, 10, 2000) for asked in ("recall", "every")]
    messages = Counter()
    for k in range(2000):
        recall, every = (problem.drawn("test", k) for problem in problems)
        read, said, answers = (
            "".join(problem.spell(space, elements))
            for problem, space, elements in (
                (problems[0], problems[0].reads, recall.inputs),
                (problems[0], problems[0].answers, recall.targets),
                (problems[1], problems[1].answers, every.targets),
            )
        )
        found = re.fullmatch(rf"([0-{alphabet - 1}]{{{message}}})\.{{{lag}}}\?\.{{{message}}}", read)
        assert said == "·" * (message + lag + 1) + found[1] and answers == "." * (message + lag + 1) + found[1]
        assert (recall.inputs == every.inputs).all()
        messages[found[1]] += 1
    if alphabet == 2:
        assert len(messages) == 32 and max(abs(count - 62.5) for count in messages.values()) < 5 * 62.5**0.5
    else:
        assert len(messages) == 2000  # of ten million
        digits = Counter("".join(messages))
        assert len(digits) == 5 and max(abs(count / 20_000 - 0.2) for count in digits.values()) < 0.015


def test_solved_where_at_most_one_episode_in_a_hundred_can_be_wrong():
    for asked, steps in (("recall", 5), ("every", 31)):
        criterion = Memorization(5, 2, 20, asked, 0, 10, 10).criterion
        assert criterion.met(9.0, 1 - 0.99 / (100 * steps)) and not criterion.met(0.0, 1 - 1.01 / (100 * steps))
