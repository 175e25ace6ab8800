import math
import statistics

import pytest

from pipeline.exhibits.claims import check
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


def run(digest, seed, measured, data="linux", units=CHARS, split="80-10-10", status="finished", loss=1.0, doubts=None):
    return {
        "hash": digest,
        "label": f"{data} {digest}",
        "data": data,
        "model": digest,
        "optimizer": "adam",
        "size": "8",
        "asked_size": "8",
        "parameters": 1234,
        "split": split,
        "units": units,
        "seed": seed,
        "status": status,
        "measured": measured,
        "validation_loss": loss,
        "targets_per_second": 100.0,
        "doubts": doubts or {},
    }


def test_a_group_is_one_configuration_over_its_seeds():
    runs = [run("a", seed, {"nats": nats, "rmse": None}) for seed, nats in ((0, 1.5), (1, 1.7), (2, 1.6))]
    [found] = groups_of(runs)
    assert (found["seeds"], found["ranked_by"], found["diverged"]) == ([0, 1, 2], "nats", 0)
    assert found["measured"] == {
        "nats": {"mean": pytest.approx(1.6), "std": pytest.approx(statistics.stdev([1.5, 1.7, 1.6]))}
    }
    assert found["validation_loss"] == {"mean": 1.0, "std": 0.0}
    assert found["by_seed"] == {
        "nats": {"0": 1.5, "1": 1.7, "2": 1.6},
        "validation_loss": {"0": 1.0, "1": 1.0, "2": 1.0},
    }


def test_a_seed_that_is_asked_for_twice_counts_once():
    [found] = groups_of([run("a", seed, {"nats": nats}) for seed, nats in ((0, 1.5), (0, 1.5), (1, 1.7))])
    assert found["seeds"] == [0, 1] and found["measured"]["nats"]["mean"] == pytest.approx(1.6)
    assert groups_of([run("a", 0, {"nats": 1.5}), run("a", 0, {"nats": 1.5})])[0]["measured"]["nats"]["std"] is None


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
    assert a["by_seed"] == {"nats": {"0": 1.5, "1": None}, "validation_loss": {"0": 1.0, "1": None}}
    # What a probe does not fit it is not asked for; it has no number and did not diverge.
    c, d = groups_of([run("c", 0, {"nats": 1.5}), run("d", 0, {"nats": 1.5, "carried": 2.0})])
    assert (c["by_seed"]["carried"], d["by_seed"]["carried"]) == ({}, {"0": 2.0})


def test_what_any_seed_doubts_is_in_doubt_for_the_first_reason():
    doubts = [{}, {"nats": "moves by 0.2"}, {"nats": "moves by 0.3", "bits": "moves"}]
    [found] = groups_of([run("a", seed, {"nats": 1.5}, doubts=one) for seed, one in enumerate(doubts)])
    assert found["doubts"] == {"nats": "moves by 0.2", "bits": "moves"}


def test_the_best_is_none_that_diverged_or_is_in_doubt():
    runs = [
        run("doubted", 0, {"nats": 1.0}, doubts={"nats": "moves"}),
        run("lost", 0, {"nats": 1.1}),
        run("lost", 1, {"nats": None}, status="diverged"),
        run("all lost", 0, {"nats": None}, status="diverged"),
        run("good", 0, {"nats": 1.3}, doubts={"carried": "moves"}),
        run("fair", 0, {"nats": 1.4}),
    ]

    def ranked(runs):
        [section] = compare(groups_of(runs), MEASURES)
        return [(row["hash"], row["best"]) for row in section["rows"]]

    last = [("lost", False), ("doubted", False), ("all lost", False)]
    assert ranked(runs) == [("good", True), ("fair", False), *last]
    assert ranked(runs[:4]) == last


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


def study_of(runs, claims=()):
    return {
        "study": "mine",
        "scale": "smoke",
        "question": "Which?",
        "groups": groups_of(runs),
        "measures": {name: measure._asdict() for name, measure in MEASURES.items()},
        "claims": list(claims),
    }


def test_the_table_has_the_measures_that_are_there_best_first():
    runs = [run("worse", 0, {"nats": 1.6}), run("better", 0, {"nats": 1.5}), run("better", 1, {"nats": 1.4})]
    runs += [run("sun", 0, {"rmse": 0.001234}, "sun", STEPS)]
    lines = as_text(study_of(runs)).splitlines()
    assert lines[1] == "mine (smoke): Which?"
    assert lines[2].split() == ["parameters", "nats/char", "RMSE", "targets/s", "seeds"]
    assert [line.split() for line in lines[3:]] == [
        ["linux", "better", "1,234", "1.450", "±", "0.071", "100", "2"],
        ["linux", "worse", "1,234", "1.600", "100", "1"],
        ["sun", "sun", "1,234", "0.0012", "100", "1"],
    ]
    assert len(set(map(len, lines[2:6]))) == 1


def test_a_mean_says_of_how_many_of_the_seeds_it_is():
    runs = [run("a", seed, {"nats": nats}) for seed, nats in ((0, 1.5), (1, 1.7), (2, None))]
    line = as_text(study_of(runs)).splitlines()[3]
    assert line.split()[3:] == ["1.600", "±", "0.141", "(2", "of", "3)", "100", "3,", "1", "diverged"]
    lost = as_text(study_of([run("a", 0, {"nats": None}, status="diverged")])).splitlines()[3]
    assert lost.split() == ["linux", "a", "1,234", "—", "100", "1,", "1", "diverged"]


def test_a_number_in_doubt_is_marked_and_the_reason_stands_below():
    runs = [run("a", 0, {"nats": 1.5, "carried": 1.0}), run("b", 0, {"nats": 1.6, "carried": 2.0})]
    runs[0]["doubts"] = {"carried": "moves by 0.21 bits"}
    runs[1]["doubts"] = {"nats": "reads too little", "gone": "of what no column shows"}
    lines = as_text(study_of(runs)).splitlines()
    assert [line.split()[3:5] for line in lines[3:5]] == [["1.500", "1.000†"], ["1.600†", "2.000"]]
    assert len(set(map(len, lines[2:5]))) == 1
    assert lines[5:] == [
        "† linux a, bits carried: moves by 0.21 bits",
        "† linux b, nats/char: reads too little",
    ]


def test_claims_stand_below_with_what_they_rest_on():
    runs = [
        run(model, seed, {"nats": nats + 0.01 * seed * seed})
        for model, nats in (("a", 1.5), ("b", 1.6))
        for seed in range(3)
    ]
    runs[-1]["measured"]["nats"] += 0.001
    claims = [
        {"source": "S", "claim": "c", "model": "a", "than": than, "relation": "no_worse", "margin": 0.02}
        for than in ("b", "z")
    ]
    study = study_of(runs)
    study["claims"] = [check(claim, study["groups"], MEASURES) for claim in claims]
    assert as_text(study).splitlines()[5:] == [
        "S: c (a at most 0.020 worse than b): holds (+0.100, 95% interval 0.099 to 0.102, 3 seeds)",
        "S: c (a at most 0.020 worse than z): not tried (no run of z)",
    ]
