import pytest

from pipeline.command.refusal import Refusal
from pipeline.exhibits.claims import check
from pipeline.exhibits.exhibit import Measure

MEASURES = {"nats": Measure("nats/{element}"), "right": Measure(digits=".1%", better="high")}


def group(model, mean, std, seeds=4, measure="nats", diverged=0):
    measured = {measure: {"mean": mean, "std": std}}
    return {
        "model": model,
        "ranked_by": measure,
        "measured": measured,
        "seeds": list(range(seeds)),
        "diverged": diverged,
    }


CLAIM = {"claim": "c", "source": "s", "model": "a", "than": "b", "relation": "better"}
RELATIONS = pytest.mark.parametrize(
    "relation, losses, verdict",
    [
        ("better", (1.50, 1.60), "holds"),
        ("better", (1.50, 1.51), "undecided"),
        ("better", (1.60, 1.50), "contradicted"),
        ("no_worse", (1.50, 1.60), "holds"),
        ("no_worse", (1.51, 1.50), "holds"),
        ("no_worse", (1.60, 1.50), "contradicted"),
    ],
)


@RELATIONS
@pytest.mark.parametrize("measure, sign", [("nats", 1), ("right", -1)])
def test_a_claim_is_judged_by_twice_the_standard_error(relation, losses, verdict, measure, sign):
    """Where high is better, minus the loss is as good."""

    def having(model, loss, *others):
        return group(model, None if loss is None else sign * loss, *others, measure=measure)

    claim = CLAIM | {"relation": relation}
    found = check(claim, [having("a", losses[0], 0.03), having("b", losses[1], 0.04)], MEASURES)
    assert (found["verdict"], found["measure"]) == (verdict, measure)
    assert found["difference"] == pytest.approx(losses[1] - losses[0]) and found["error"] == pytest.approx(0.025)
    assert check(claim, [having("a", 1.5, None, 1), having("b", 1.6, 0.1)], MEASURES)["verdict"] == "not tried"
    assert check(claim, [having("a", 1.5, 0.1)], MEASURES)["verdict"] == "not tried"


def test_a_model_that_diverged_is_worse_than_one_that_did_not():
    fine, lost = group("a", 1.5, 0.1), group("b", None, None, diverged=4)
    assert check(CLAIM, [fine, lost], MEASURES)["verdict"] == "holds"
    assert check(CLAIM | {"model": "b", "than": "a"}, [fine, lost], MEASURES)["verdict"] == "contradicted"
    assert check(CLAIM, [group("a", None, None, diverged=4), lost], MEASURES)["verdict"] == "not tried"
    # One that nobody measured did not diverge.
    assert check(CLAIM, [fine, group("b", None, None)], MEASURES)["verdict"] == "not tried"


def test_a_claim_may_name_its_measure():
    groups = [group("a", 1.5, 0.01), group("b", 1.6, 0.01)]
    for one, right in zip(groups, (0.5, 0.9)):
        one["measured"]["right"] = {"mean": right, "std": 0.01}
    assert check(CLAIM, groups, MEASURES)["verdict"] == "holds"
    found = check(CLAIM | {"measure": "right"}, groups, MEASURES)
    assert found["verdict"] == "contradicted" and found["difference"] == pytest.approx(-0.4)
    with pytest.raises(Refusal, match="^the claim 'c' is about 'bleu', which none .*: take one of nats, right$"):
        check(CLAIM | {"measure": "bleu"}, groups, MEASURES)
