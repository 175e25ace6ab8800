"""Runs that differ in their seed alone, together: means and spreads, and what is compared with what.

A run, a group, and measures are as pipeline.evaluate writes them.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping

from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.numbers import known

SHARED = ("hash", "label", "data", "model", "optimizer", "size", "parameters", "split", "units")


def together(items: Iterable[dict], key: Callable[[dict], object]) -> list[list[dict]]:
    """Items with equal keys side by side, in the order of the first of each."""
    found: list[tuple[object, list[dict]]] = []
    for item in items:
        for other, alike in found:
            if other == key(item):
                alike.append(item)
                break
        else:
            found.append((key(item), [item]))
    return [alike for _, alike in found]


def comparable(items: Iterable[dict]) -> list[list[dict]]:
    """Runs or groups whose numbers may be compared: of the same data, split and units."""
    return together(items, lambda item: (item["data"], item["split"], item["units"]))


def groups_of(runs: list[dict]) -> list[dict]:
    """A group for each configuration, in the order of its first run.

    measured   measure -> {"mean", "std"} over seeds, sample standard deviation; those of them that any run compared
               with it has
    ranked_by  the first measure that any run compared with it has
    diverged   runs that were asked for it and have no finite one
    """
    groups = {}
    for section in comparable(runs):
        measures = list(dict.fromkeys(name for run in section for name in run["measured"]))
        had = [name for name in measures if any(known(run["measured"].get(name)) for run in section)] or measures[:1]
        ranked_by = had[0] if had else None
        for seeds in together(section, lambda run: run["hash"]):
            groups[seeds[0]["hash"]] = {key: seeds[0][key] for key in SHARED} | {
                "seeds": [run["seed"] for run in seeds],
                "ranked_by": ranked_by,
                "measured": {name: over_seeds(run["measured"].get(name) for run in seeds) for name in had},
                "validation_loss": over_seeds(run["validation_loss"] for run in seeds),
                "targets_per_second": over_seeds(run["targets_per_second"] for run in seeds),
                "diverged": sum(
                    ranked_by in run["measured"] and not known(run["measured"][ranked_by]) for run in seeds
                ),
            }
    return [groups[digest] for digest in dict.fromkeys(run["hash"] for run in runs)]


def over_seeds(values: Iterable[float | None]) -> dict:
    """Mean and sample standard deviation of what is known; None where too little is."""
    found = [value for value in values if known(value)]
    return {
        "mean": statistics.fmean(found) if found else None,
        "std": statistics.stdev(found) if len(found) > 1 else None,
    }


def ranking(measures: Mapping[str, Measure]) -> Callable[[dict], float]:
    """The key that sorts groups from the best to the worst, those without a number last."""

    def key(group: dict) -> float:
        mean = group["measured"].get(group["ranked_by"], {}).get("mean")
        if not known(mean):
            return math.inf
        return -mean if measures[group["ranked_by"]].better == "high" else mean

    return key
