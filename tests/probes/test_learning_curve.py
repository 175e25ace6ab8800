"""Curves of loss against training data: fits and crossings whose parameters are known."""

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.probes.learning_curve import LearningCurve, beside, times
from pipeline.probes.power_law import PowerLaw, crossings, fit

SIZES = [10_000, 30_000, 100_000, 300_000, 1_000_000]


@pytest.mark.parametrize("limit, scale, exponent", [(1.1, 40.0, 0.35), (0.0, 9.0, 0.12), (0.4, 500.0, 0.7)])
def test_made_up_parameters_are_found_again(limit, scale, exponent):
    law = PowerLaw(limit, scale, exponent)
    found = fit(SIZES, [law.at(size) for size in SIZES])
    assert found.limit == pytest.approx(limit, abs=1e-4)
    assert found[1:] == pytest.approx([scale, exponent], rel=1e-3)


def test_the_fit_is_the_least_of_all_that_were_tried():
    """Against a plain search over (limit, exponent), the scale following by its one-dimensional least squares."""
    draw = np.random.default_rng(0)
    sizes = np.array(SIZES * 2, float)
    losses = (1.2 + 30 * sizes**-0.3) * np.exp(0.05 * draw.standard_normal(len(sizes)))

    def error(law):
        return sum((law.at(size) / loss - 1) ** 2 for size, loss in zip(sizes, losses))

    least = math.inf
    for limit in np.linspace(0, 2, 101):
        for exponent in np.linspace(0.05, 1, 96):
            column = sizes**-exponent / losses
            scale = max(0, column @ (1 - limit / losses) / (column @ column))
            least = min(least, error(PowerLaw(limit, scale, exponent)))
    found = fit(sizes, losses)
    assert 0.9 * least < error(found) <= least and found.limit > 0
    for one, other in itertools.product(range(3), (0.999, 1.001)):  # nor does a small change better it
        assert error(found._replace(**{found._fields[one]: other * found[one]})) > error(found)
    assert fit(SIZES[:3] * 2, losses[:6]) is None  # three parameters, three sizes


def test_curves_of_one_limit_cross_where_their_powers_are_the_same():
    one, other = PowerLaw(1.0, 60.0, 0.4), PowerLaw(1.0, 12.0, 0.25)
    at = (60 / 12) ** (1 / 0.15)
    assert crossings(one, other, 100, 1e9) == pytest.approx([at], rel=1e-9)
    assert crossings(one, other, 2 * at, 1e9) == [] == crossings(one, one, 100, 1e9)


def test_curves_may_cross_twice():
    """u = N^-1/2, 1 + 2 u = 0.9 + u / u0 + ... chosen so that u^2 - 3 u + 2 = 0 times 0.01: N = 1/u."""
    one, other = PowerLaw(0.02, 0.01, 2.0), PowerLaw(0.0, 0.03, 1.0)  # 0.01 u^2 + 0.02 = 0.03 u, u = 1/N: u = 1, 2
    assert crossings(one, other, 0.1, 10) == pytest.approx([0.5, 1.0], rel=1e-9)


def test_what_is_needed_for_a_loss_and_what_more_brings():
    law = PowerLaw(1.0, 10.0, 0.5)
    assert law.size_for(1.1) == pytest.approx(10_000) and law.size_for(1.0) == math.inf
    assert law.fall(100) == pytest.approx(1 - 1 / math.sqrt(10))
    assert PowerLaw(1.0, 0.0, 0.5).size_for(2.0) == math.inf


def row(model, size, losses, doubts=()):
    runs = [
        {"seed": seed, "measured": {"nats": loss, "bits": 2 * loss}, "doubts": dict.fromkeys(doubts, "why"),
         "found": {"learned_from": size}}
        for seed, loss in enumerate(losses)
    ]  # fmt: skip
    return {"model": model, "size": "1x8", "ranked_by": "bits", "study": "made", "runs": runs,
            "measured": {"nats": {}, "bits": {}}, "units": {"element": "char", "loss": "nats/char"}}  # fmt: skip


def test_the_page_says_where_curves_cross_and_how_much_data_one_needs_for_the_others_loss():
    one, other = PowerLaw(1.0, 60.0, 0.4), PowerLaw(1.0, 12.0, 0.25)  # at 45,700
    rows = [row("lstm", size, [one.at(size)] * 2) for size in SIZES]
    rows += [row("ngram", size, [other.at(size)]) for size in SIZES]
    rows.append(row("ngram", 1000, [99.0], doubts=["nats"]))  # neither drawn nor fitted
    drawn, fitted, pairs = LearningCurve().show(json.loads(json.dumps(rows)))
    assert drawn.html.startswith("<svg") and "lstm 1x8" in drawn.html
    assert "0.400" in fitted.html and "0.250" in fitted.html and "1.000" in fitted.html
    needed = (60 / (12 * 1e6**-0.25)) ** (1 / 0.4) / 1e6
    assert pairs.html.count("46,000") == 2 and f"{needed:.2g} times" in pairs.html and "beyond" not in pairs.html
    assert len(LearningCurve().show(rows[:3])) == 1  # too few sizes for a curve


def test_words_say_what_no_data_reach():
    laws = {"a": PowerLaw(2.0, 1.0, 0.5), "b": PowerLaw(1.0, 1.0, 0.5)}
    html = beside({name: [(10, 1.0), (1000, 1.0)] for name in laws}, laws)
    assert html.count("nowhere") == 2 and "not by any amount" in html
    assert times(0.5) == "0.5 times" and times(1e4) == "over 1,000 times" and times(1e-4) == "below 0.001 times"


def test_a_run_says_what_it_learned_from():
    data = SimpleNamespace(card={"counts": {"train": 5, "test": 9}})
    assert LearningCurve().measure(None, data, 0) == {"learned_from": 5}
