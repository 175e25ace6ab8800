import math
import statistics

import pytest

from pipeline.exhibits.comparison import as_text, columns, compare
from pipeline.exhibits.exhibit import Measure
from pipeline.exhibits.groups import groups_of

CHARS = {"loss": "nats/char", "element": "char"}
BYTES = {"loss": "nats/byte", "element": "byte"}
STEPS = {"loss": "squared error", "element": "step"}
MEASURES = {
    "nats": Measure("nats/{element}"),
    "rmse": Measure(title="RMSE"),
    "carried": Measure("bits", better="high", title="bits carried"),
}


def run(digest, seed, measured, data="linux", units=CHARS, split="80-10-10", status="finished", loss=1.0):
    return {
        "hash": digest,
        "label": f"{data} {digest}",
        "data": data,
        "model": digest,
        "optimizer": "adam",
        "size": "8",
        "parameters": 1234,
        "split": split,
        "units": units,
        "seed": seed,
        "status": status,
        "measured": measured,
        "validation_loss": loss,
        "targets_per_second": 100.0,
    }


def test_a_group_is_one_configuration_over_its_seeds():
    runs = [run("a", seed, {"nats": nats, "rmse": None}) for seed, nats in ((0, 1.5), (1, 1.7), (2, 1.6))]
    [found] = groups_of(runs)
    assert (found["seeds"], found["ranked_by"], found["diverged"]) == ([0, 1, 2], "nats", 0)
    assert found["measured"] == {
        "nats": {"mean": pytest.approx(1.6), "std": pytest.approx(statistics.stdev([1.5, 1.7, 1.6]))}
    }
    assert found["validation_loss"] == {"mean": 1.0, "std": 0.0}


def test_what_diverged_is_counted_and_in_no_mean():
    lost = {"nats": None, "rmse": None}
    runs = [
        run("a", 0, {"nats": 1.5, "rmse": None}),
        run("a", 1, lost, status="diverged", loss=None),
        run("b", 0, lost, status="diverged", loss=None),
    ]
    a, b = groups_of(runs)
    assert (a["measured"]["nats"], a["diverged"]) == ({"mean": 1.5, "std": None}, 1)
    assert (b["measured"], b["ranked_by"], b["diverged"]) == ({"nats": {"mean": None, "std": None}}, "nats", 1)
    [alone] = groups_of(runs[2:])
    assert (alone["ranked_by"], alone["diverged"]) == ("nats", 1)


def test_each_section_is_ranked_by_the_first_measure_that_it_has():
    runs = [
        run("a", 0, {"nats": None, "rmse": None}, "sine", STEPS, status="diverged"),
        run("b", 0, {"nats": None, "rmse": 0.5}, "sine", STEPS),
        run("c", 0, {"carried": 2.0, "nats": 0.1}),
        run("d", 0, {"carried": 3.0, "nats": 0.2}),
        run("e", 0, {"nats": 0.5, "rmse": None}, units=BYTES),
        run("f", 0, {}, data="odd"),
    ]
    groups = groups_of(runs)
    assert [group["ranked_by"] for group in groups] == ["rmse", "rmse", "carried", "carried", "nats", None]
    sections = compare(groups, MEASURES)
    assert [[row["hash"] for row in section["rows"]] for section in sections] == [["b", "a"], ["d", "c"], ["e"], ["f"]]
    assert [row["hash"] for section in sections for row in section["rows"] if row["best"]] == ["b", "d"]
    # One of two units of nats is not that of the other.
    assert columns(sections, MEASURES) == {"nats": "nats", "rmse": "RMSE", "carried": "bits carried"}
    assert columns(sections[1:2], MEASURES) == {"nats": "nats/char", "carried": "bits carried"}
    assert columns(sections[2:3], MEASURES) == {"nats": "nats/byte"}


def test_a_number_that_is_not_finite_is_none():
    [group] = groups_of([run("a", 0, {"nats": math.nan}), run("a", 1, {"nats": 1.0})])
    assert (group["measured"]["nats"], group["diverged"]) == ({"mean": 1.0, "std": None}, 1)


def test_the_table_has_the_measures_that_are_there_best_first():
    runs = [run("worse", 0, {"nats": 1.6}), run("better", 0, {"nats": 1.5}), run("better", 1, {"nats": 1.4})]
    runs += [run("sun", 0, {"rmse": 0.001234}, "sun", STEPS)]
    claim = {"source": "S", "claim": "c", "measure": "nats", "verdict": "holds", "difference": 0.15, "error": 0.02}
    study = {
        "study": "mine",
        "scale": "smoke",
        "question": "Which?",
        "groups": groups_of(runs),
        "measures": {name: measure._asdict() for name, measure in MEASURES.items()},
        "claims": [claim, claim | {"measure": None, "verdict": "not tried", "difference": None, "error": None}],
    }
    lines = as_text(study).splitlines()
    assert lines[1] == "mine (smoke): Which?"
    assert lines[2].split() == ["parameters", "nats/char", "RMSE", "targets/s", "seeds"]
    assert [line.split() for line in lines[3:6]] == [
        ["linux", "better", "1,234", "1.450", "±", "0.071", "100", "2"],
        ["linux", "worse", "1,234", "1.600", "100", "1"],
        ["sun", "sun", "1,234", "0.0012", "100", "1"],
    ]
    assert len(set(map(len, lines[2:6]))) == 1
    assert lines[6:] == ["S: c: holds (+0.150 ± 0.020)", "S: c: not tried"]
