"""What papers claim, and what the runs of a study say."""

import math
from collections.abc import Mapping

from pipeline.command.refusal import Refusal
from pipeline.exhibits.exhibit import Measure


def check(claim: Mapping, groups: list[dict], measures: Mapping[str, Measure]) -> dict:
    """The claim that `model` is better than `than` (relation better) or not worse (no_worse) by `measure`, if it names
    none by the one that ranks `model`; and what these runs say.

    difference  by how much `model` is better: its number minus that of `than`, the other way round where low is better;
    error       its standard error from the spread over seeds
    verdict     better: "holds" from 2 errors above 0, "contradicted" from 2 below, else "undecided"; no_worse:
                "contradicted" from 2 below, else "holds"; "not tried" where a model is missing or has one seed. A model
                that diverged is worse than one that did not.
    Raises Refusal for a measure that is none of `measures`.
    """
    by_model = {group["model"]: group for group in groups}
    found = [by_model.get(claim[key]) for key in ("model", "than")]
    measure = claim.get("measure") or (found[0] or {}).get("ranked_by")
    if measure is not None and measure not in measures:
        raise Refusal(
            f"the claim {claim['claim']!r} is about {measure!r}, which none of the study's probes measures: "
            f"take one of {', '.join(measures)}"
        )
    judged = {**claim, "measure": measure, "difference": None, "error": None, "verdict": "not tried"}
    if not all(found):
        return judged
    numbers = [group["measured"].get(measure, {"mean": None, "std": None}) for group in found]
    diverged = tuple(number["mean"] is None and group["diverged"] > 0 for number, group in zip(numbers, found))
    if any(diverged):
        return judged | {"verdict": {(False, True): "holds", (True, False): "contradicted"}.get(diverged, "not tried")}
    if any(number["std"] is None for number in numbers):
        return judged
    ours, theirs = numbers
    difference = ours["mean"] - theirs["mean"] if measures[measure].better == "high" else theirs["mean"] - ours["mean"]
    error = math.sqrt(sum(number["std"] ** 2 / len(group["seeds"]) for number, group in zip(numbers, found)))
    if difference < -2 * error:
        verdict = "contradicted"
    else:
        verdict = "holds" if claim["relation"] == "no_worse" or difference > 2 * error else "undecided"
    return judged | {"difference": difference, "error": error, "verdict": verdict}
