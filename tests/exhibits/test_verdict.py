"""What came out of a study, in sentences."""

import pytest
from scipy import stats

from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.verdict import apart, sentences

NATS = {"loss": "nats/char", "element": "char", "digits": ".4f", "also": {}, "logarithmic": True}
MEASURES = {"nats": Measure(unit="nats/{element}"), "right": Measure(unit="%", digits=".1f", better="high")}


def row(label: str, values: list[float], name: str = "nats", **more) -> dict:
    by_seed = {str(seed): value for seed, value in enumerate(values)}
    mean = {"mean": sum(values) / len(values), "std": None}
    return {"label": label, "measured": {name: mean}, "by_seed": {name: by_seed}, "ranked_by": name, "doubts": {}} | (
        {"diverged": 0} | more
    )


def section(rows: list[dict], data: str = "plays") -> dict:
    return {"data": data, "split": "80-10-10", "units": NATS, "ranked_by": rows[0]["ranked_by"], "rows": rows}


def test_the_difference_has_the_interval_of_a_paired_t_test():
    ours, theirs = [1.83, 1.84, 1.85], [1.86, 1.88, 1.87]
    gap, error, seeds = apart(dict(zip("abc", ours)), dict(zip("abc", theirs)))
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (gap - error, gap + error) == pytest.approx(tuple(interval)) and seeds == 3


def test_the_best_model_is_named_with_how_far_the_next_is():
    said = sentences([section([row("gru", [1.83, 1.84, 1.85]), row("lstm", [1.86, 1.87, 1.89])])], MEASURES, [])
    assert said == ["gru 1.840 (nats/char), below lstm by 0.033 ± 0.014 (3 seeds each)."]
    close = [row("gru", [1.83, 1.90]), row("lstm", [1.86, 1.88])]
    assert sentences([section(close)], MEASURES, [])[0].endswith("(2 seeds each); chance may explain it.")
    alone = [row("rnn", [99.5], "right"), row("constant", [50.0], "right")]
    assert sentences([section(alone), section(close, "sonnets")], MEASURES, [])[0] == (
        "On plays: rnn 99.5 (right, %), above constant by 49.5 (one seed each, which tells no spread)."
    )


def test_one_model_and_what_is_in_doubt_are_not_called_the_best():
    doubtful = row("gru", [1.83]) | {"doubts": {"nats": "few"}}
    assert sentences([section([row("lstm", [1.86])])], MEASURES, []) == []
    assert sentences([section([row("lstm", [1.86]), doubtful])], MEASURES, []) == []


def test_claims_are_counted_by_verdict():
    verdicts = ["holds", "holds", "contradicted", "not tried"]
    claims = [{"claim": "gates help", "verdict": verdict} for verdict in verdicts]
    assert sentences([], MEASURES, claims) == ["Of 4 claims 2 hold, 1 is contradicted, 1 was not tried."]
    assert sentences([], MEASURES, claims[:1]) == ["The claim that gates help holds."]
