"""Runs that differ in their seed alone, together: means and spreads, and what is compared with what.

A run, a group, and measures are as pipeline.evaluate writes them.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping

from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.numbers import known

SHARED = ("hash", "label", "data", "model", "optimizer", "size", "asked_size", "parameters", "split", "units")


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

    measured   measure -> {"mean", "std"} over the seeds that have one, sample standard deviation; those measures that
               any run compared with it has
    by_seed    of the same, and of the validation loss, what each seed has, None where it diverged; seeds that are not
               asked for a measure are left out. Seeds are texts, as in JSON
    ranked_by  the first measure that any run compared with it has
    diverged   runs that were asked for it and have no finite one
    doubts     measure -> why it must not be relied on, the first reason of any seed
    """
    groups = {}
    for section in comparable(runs):
        measures = list(dict.fromkeys(name for run in section for name in run["measured"]))
        had = [name for name in measures if any(known(run["measured"].get(name)) for run in section)] or measures[:1]
        ranked_by = had[0] if had else None
        for alike in together(section, lambda run: run["hash"]):
            seeds = {str(run["seed"]): run for run in alike}
            values = {name: by_seed(seeds, name) for name in had}
            losses = {seed: run["validation_loss"] for seed, run in seeds.items()}
            groups[alike[0]["hash"]] = {key: alike[0][key] for key in SHARED} | {
                "seeds": [run["seed"] for run in seeds.values()],
                "ranked_by": ranked_by,
                "measured": {name: over_seeds(found.values()) for name, found in values.items()},
                "by_seed": values | {"validation_loss": losses},
                "validation_loss": over_seeds(losses.values()),
                "targets_per_second": over_seeds(run["targets_per_second"] for run in seeds.values()),
                "diverged": sum(value is None for value in values.get(ranked_by, {}).values()),
                "doubts": {name: why for run in reversed(seeds.values()) for name, why in run["doubts"].items()},
            }
    return [groups[digest] for digest in dict.fromkeys(run["hash"] for run in runs)]


def by_seed(seeds: Mapping[str, dict], name: str) -> dict[str, float | None]:
    """Seed -> what its run has under `name`, None where that is not finite, of the runs that were asked for it."""
    return {
        seed: run["measured"][name] if known(run["measured"][name]) else None
        for seed, run in seeds.items()
        if name in run["measured"]
    }


def over_seeds(values: Iterable[float | None]) -> dict:
    """Mean and sample standard deviation of what is known; None where too little is."""
    found = [value for value in values if known(value)]
    return {
        "mean": statistics.fmean(found) if found else None,
        "std": statistics.stdev(found) if len(found) > 1 else None,
    }


def standing(group: dict) -> int:
    """How far the number that ranks a group may be relied on: 0 if it may, 1 if some seeds diverged, 2 if it is in
    doubt, 3 if there is none."""
    name = group["ranked_by"]
    if not known(group["measured"].get(name, {}).get("mean")):
        return 3
    return 2 if name in group["doubts"] else 1 if group["diverged"] else 0


def ranking(measures: Mapping[str, Measure]) -> Callable[[dict], tuple[int, float]]:
    """The key that sorts groups from the best to the worst, after those that may be relied on those that may less."""

    def key(group: dict) -> tuple[int, float]:
        stands, name = standing(group), group["ranked_by"]
        if stands == 3:
            return stands, 0.0
        mean = group["measured"][name]["mean"]
        return stands, -mean if measures[name].better == "high" else mean

    return key
