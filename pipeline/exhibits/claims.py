"""What papers claim, and what the runs of a study say."""

import math
import statistics
from collections.abc import Mapping
from functools import cache

from pipeline.command.refusal import Refusal
from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.groups import comparable
from pipeline.exhibits.numbers import MINUS, known, written

TEXTS = ("source", "claim", "model", "than", "relation")
KEYS = (*TEXTS, "measure", "margin", "tuned", "lecture")
CONFIDENCE = 0.95
FEWEST = 2  # seeds


def claims_of(study: str, claims: object, measures: Mapping[str, Measure]) -> list[dict]:
    """The claims that a study's configuration names. Raises Refusal for what is none."""
    if not isinstance(claims, list | None):
        raise Refusal(f"study {study}: claims: {claims!r} is no list: take a list of mappings with {', '.join(TEXTS)}")
    for number, claim in enumerate(claims or [], 1):
        if not isinstance(claim, dict):
            raise Refusal(f"study {study}: claims number {number} is {claim!r}: take a mapping with {', '.join(TEXTS)}")
        name = f"claim {claim['claim']!r}" if "claim" in claim else f"claim number {number}"
        wrong = mistake(claim, measures)
        if wrong:
            raise Refusal(f"study {study}: {name} {wrong}")
    return claims or []


def mistake(claim: dict, measures: Mapping[str, Measure]) -> str | None:
    """What makes it none that `check` can judge, and the mend; None: nothing."""
    for key in TEXTS:
        if key not in claim:
            return f"lacks {key}: write it beside the others"
        if not isinstance(claim[key], str):
            return f"has {key} {claim[key]}: take a text"
    for key in claim:
        if key not in KEYS:
            return f"has {key}, which no claim has: take {', '.join(KEYS)}"
    if claim["model"] == claim["than"]:
        return f"compares {claim['model']} with itself: take another model or another than"
    measure, margin = claim.get("measure"), claim.get("margin")
    if claim.get("tuned", True) is not True:
        return f"has tuned {claim['tuned']!r}: take true, or leave it out"
    if measure is not None and measure not in list(measures):
        return f"is about {measure!r}, which none of its probes measures: take one of {', '.join(measures)}"
    match claim["relation"]:
        case "better" if margin is None:
            return None
        case "better":
            return "has a margin and relation better: leave it out or take relation no_worse"
        case "no_worse" if margin is None:
            return "has relation no_worse and no margin: say from which difference on it is worse, as margin: 0.02"
        case "no_worse":
            number = isinstance(margin, int | float) and not isinstance(margin, bool)
            if number and known(margin) and margin > 0:
                return None
            return f"has margin {margin!r}: take a number above 0, in the measure's units"
    return f"has relation {claim['relation']!r}: take better or no_worse"


def check(claim: Mapping, groups: list[dict], measures: Mapping[str, Measure]) -> dict:
    """A claim of claims_of, and what these runs say. It is that `model` is better than `than` (relation better), or
    worse by less than `margin` (no_worse), in `measure`, or where it names none in the one that ranks `model`. Both are
    names of data, of models, of optimizers, or words of labels, several with spaces between: `named`. Of several
    configurations of one, where the claim says `tuned`, that with the least validation loss stands for it.

    difference  by how much `model` is better with the same seed, in the mean over the seeds that both have
    error       half the width of its 95 % interval, by Student's t; None where the differences have no spread
    seeds       how many both have
    verdict     "holds" where all of the interval lies above 0 (no_worse: above -margin), "contradicted" where all of it
                lies below, else "undecided", as where they have one seed in common; "not tried" where a model is
                missing or they have none
    why         of a verdict that the interval does not tell, in a line; else None

    A seed that diverged is worse than all that did not. Where there is one, and where the differences have no spread
    (models that draw nothing, shares that are all 0 or 1), ranks decide: exactly, by Mann and Whitney, which takes at
    least four seeds; and a model that diverged with a seed with which the other did not is never the better one. A
    measure in doubt decides nothing. So two models that differ by chance alone are told apart in one of twenty
    comparisons at most.
    """
    names = [claim["model"], claim["than"]]
    found = [named(name, groups) for name in names]
    if claim.get("tuned"):
        found = [tuned(some) for some in found]
    measure = claim.get("measure") or next((group["ranked_by"] for group in found[0]), None)
    nothing = {"difference": None, "error": None, "seeds": 0, "verdict": "not tried", "why": None}
    judged = {**claim, "measure": measure} | nothing
    missing = untried(names, found, measure)
    if missing:
        return judged | {"why": missing}
    pair = [some[0] for some in found]
    ours, theirs = (group["by_seed"][measure] for group in pair)
    both = [seed for seed in ours if seed in theirs]
    judged["seeds"] = len(both)
    if len(both) < FEWEST:
        few = "one seed in common, and two are the least" if both else "no seed in common"
        why = f"{names[0]} and {names[1]} have {few}"
        return judged | {"verdict": "undecided" if both else "not tried", "why": why}
    judged["verdict"] = "undecided"
    for name, group in zip(names, pair):
        if measure in group["doubts"]:
            return judged | {"why": f"{measure} of {name} in doubt: {group['doubts'][measure]}"}
    sign = 1 if measures[measure].better == "high" else -1
    gains = [[sign * of[seed] if known(of[seed]) else -math.inf for seed in both] for of in (ours, theirs)]
    margin = claim.get("margin") or 0.0
    if -math.inf in gains[0] + gains[1]:
        return judged | among_diverged(names, *gains, margin)
    return judged | among_finite(*gains, margin)


def named(name: str, groups: list[dict]) -> list[dict]:
    """The groups whose data, model, optimizer and label have all words of `name`; of one word, those of the model of
    this name, if there are any."""
    models = [group for group in groups if group["model"] == name]
    words = set(name.split())
    return models or [
        group
        for group in groups
        if words <= {group["data"], group["model"], group["optimizer"], *group["label"].split()}
    ]


def tuned(groups: list[dict]) -> list[dict]:
    """Of groups that may be compared the one with the least validation loss, in the mean over seeds, among those with
    the fewest that diverged."""
    if len(comparable(groups)) != 1:
        return groups
    losses = {group["hash"]: list(group["by_seed"]["validation_loss"].values()) for group in groups}

    def key(group: dict) -> tuple[int, float]:
        had = [loss for loss in losses[group["hash"]] if known(loss)]
        return len(losses[group["hash"]]) - len(had), statistics.fmean(had) if had else math.inf

    return [min(groups, key=key)]


def untried(names: list[str], found: list[list[dict]], measure: str | None) -> str | None:
    """Why the groups `found` of the two models cannot be compared; None: they can."""
    missing = [name for name, some in zip(names, found) if not some]
    if missing:
        return f"no run of {', '.join(missing)}"
    for name, some in zip(names, found):
        if len(some) > 1:
            return f"there are {len(some)} configurations of {name}"
    pair = [some[0] for some in found]
    if len(comparable(pair)) > 1:
        return f"{names[0]} and {names[1]} were judged on different data"
    if measure is None:
        return f"nothing measures {names[0]} and {names[1]}"
    return next((f"{name} has no {measure}" for name, one in zip(names, pair) if not one["by_seed"].get(measure)), None)


def among_finite(ours: list[float], theirs: list[float], margin: float) -> dict:
    """What pairs of numbers say, high is better."""
    differences = [one - other for one, other in zip(ours, theirs)]
    count, mean, spread = len(differences), statistics.fmean(differences), statistics.stdev(differences)
    if spread <= 1e-9 * max(map(abs, ours + theirs)):  # rounding
        verdict = by_ranks(ours, theirs, margin)
        same = f"the difference is the same on all {count} seeds, so nothing tells its spread"
        return {"difference": mean, "verdict": verdict, "why": same if verdict == "undecided" else None}
    error = widest(count - 1) * spread / math.sqrt(count)
    verdict = "holds" if mean - error > -margin else "contradicted" if mean + error < -margin else "undecided"
    return {"difference": mean, "error": error, "verdict": verdict}


@cache
def widest(freedom: int) -> float:
    """Student's t of so many degrees of freedom stays within this on either side of 0: 12.7, 4.3, 3.2, ..."""
    from scipy import stats

    return stats.t.ppf((1 + CONFIDENCE) / 2, freedom).item()


def among_diverged(names: list[str], ours: list[float], theirs: list[float], margin: float) -> dict:
    """What pairs of numbers say, high is better, of which some are -inf."""
    verdict = by_ranks(ours, theirs, margin)
    better, other = (ours, theirs) if verdict == "holds" else (theirs, ours)
    if any(one == -math.inf < two for one, two in zip(better, other)):
        verdict = "undecided"
    lost = [(name, of.count(-math.inf)) for name, of in zip(names, (ours, theirs)) if -math.inf in of]
    (first, count), *others = lost
    why = ", ".join([f"{first} diverged on {count} of {len(ours)} seeds", *(f"{name} on {n}" for name, n in others)])
    return {"verdict": verdict, "why": why}


def by_ranks(ours: list[float], theirs: list[float], margin: float) -> str:
    from scipy import stats

    found = stats.mannwhitneyu([one + margin for one in ours], theirs, method="exact")
    if found.pvalue > 1 - CONFIDENCE:
        return "undecided"
    return "holds" if found.statistic > len(ours) * len(theirs) / 2 else "contradicted"


def compared(claim: Mapping, measures: Mapping[str, Measure]) -> str:
    """What a judged claim says of its models, for people."""
    if claim["relation"] == "better":
        return f"{claim['model']} better than {claim['than']}"
    margin = written(claim["margin"], digits_of(claim, measures))
    return f"{claim['model']} at most {margin} worse than {claim['than']}"


def evidence(claim: Mapping, measures: Mapping[str, Measure]) -> str:
    """What the verdict of a judged claim rests on, for people."""
    if claim["verdict"] == "not tried" or claim["seeds"] < FEWEST:
        return claim["why"]
    digits, seeds, why = digits_of(claim, measures), f"{claim['seeds']} seeds", claim["why"] and f": {claim['why']}"
    if claim["difference"] is None:
        return f"{seeds}{why}"
    mean = ("+" if claim["difference"] >= 0 else "") + signed(claim["difference"], digits)
    if claim["error"] is None:
        return f"{mean} on each of {seeds}{why or ''}"
    ends = (claim["difference"] - claim["error"], claim["difference"] + claim["error"])
    low, high = (signed(end, digits) for end in ends)
    return f"{mean}, {CONFIDENCE:.0%} interval {low} to {high}, {seeds}"


def signed(number: float, digits: str) -> str:
    return MINUS * (number < 0) + written(abs(number), digits)


def digits_of(claim: Mapping, measures: Mapping[str, Measure]) -> str:
    return measures[claim["measure"]].digits if claim["measure"] in measures else Measure().digits
