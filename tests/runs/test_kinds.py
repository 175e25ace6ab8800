"""Each kind of data from the command to the finished run: it is learned, interrupted, shared by ranks, and written."""

import os
import socket

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.data import load_data
from pipeline.files.whole import read_lines
from pipeline.learning.learning import Learning
from pipeline.runs.building import load_network
from tests.conftest import composed, trained
from tests.runs.test_resume import FORKED, records, same

PROBLEMS = {
    "marked": ("Adding", "longest: 5\ntolerance: 0.2"),
    "kept": ("Latch", ""),
    "sum": ("Sum", ""),
    "quadrant": ("Quadrant", ""),
    "shift": ("Shift", ""),
    "untold": ("Untold", ""),
    "names": ("Names", "count: 90"),
    "topics": ("Topics", "count: 90"),
}
BY_GRADIENT = ["optimizer=adam", "optimizer.lr=0.02", "trainer.batch=16", "model.hidden=12"]
# Few steps of conjugate gradients: many make far more of the last bit.
HESSIAN_FREE = [
    "optimizer=hessian_free",
    "optimizer.curvature_batch=40",
    "optimizer.micro_batch=30",
    "optimizer.cg_steps=8",
]
HESSIAN_FREE += ["trainer.batch=80", "model.hidden=12", "trainer.record_every=1"]
# Of each kind one that is easy, how it is learned, and a share of right answers that it then has; None: as `loss`.
KINDS = {
    "numbers, asked at the end": (["data=marked", "model=lstm", *BY_GRADIENT, "trainer.steps=120"], 0.6),
    "symbols, many to one": (["data=kept", "model=lstm", *BY_GRADIENT, "trainer.steps=60"], 1.0),
    "symbols on delay taps": (
        ["data=kept", "model=delay_taps", "model.taps=6", *BY_GRADIENT[:-1], "trainer.steps=60"],
        1.0,
    ),
    "bits, asked at every step": (["data=sum", "model=gru", *BY_GRADIENT, "trainer.steps=150"], 0.8),
    "symbols for numbers, on delay taps": (
        ["data=quadrant", "model=delay_taps", "model.taps=5", *BY_GRADIENT[:-1], "trainer.steps=60"],
        0.8,
    ),
    "given numbers": (["data=shift", "model=lstm", *BY_GRADIENT, "trainer.steps=90"], 0.9),
    "given numbers, Hessian-free": (["data=shift", "model=gru", *HESSIAN_FREE, "trainer.steps=14"], 0.9),
    "ragged, one answer, given numbers": (["data=topics", "model=lstm", *BY_GRADIENT, "trainer.steps=50"], 0.9),
    "ragged, foretold": (["data=names", "model=lstm", *BY_GRADIENT, "trainer.steps=50"], 0.8),
    "ragged, foretold, with dropout and drawn symbols": (
        ["data=names", "model=lstm", *BY_GRADIENT, "trainer.steps=80", "model.layers=2", "model.dropout=0.2"]
        + ["model.locked_dropout=true", "model.embedding=8", "model.embedding_dropout=0.05", "model.weight_drop=0.05"]
        + ["trainer.ema_decay=0.9", "readout=sampled", "readout.samples=4"],
        0.6,
    ),
    "ragged, by EM": (["data=names", "model=hmm", "model.states=7", "optimizer.passes=8", "trainer.batch=16"], 0.6),
    "episodes, by ridge regression": (
        ["data=marked", "model=echo_state", "model.washout=0", "trainer.batch=16"],
        0.95,
    ),
    "ragged, by ridge regression": (["data=names", "model=echo_state", "model.washout=0", "trainer.batch=16"], 0.6),
}

SOME = [  # enough to tell each kind of data and rule apart
    "numbers, asked at the end",
    "given numbers",
    "given numbers, Hessian-free",
    "ragged, one answer, given numbers",
    "ragged, foretold, with dropout and drawn symbols",
    "ragged, by EM",
    "ragged, by ridge regression",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "data").mkdir()
    for name, (kind, more) in PROBLEMS.items():
        settings = f"count: {more[7:]}\n" if "count" in more else f"{more}\nseed: 0\nepisodes: 400\nheld: 100\n"
        (folder / "data" / f"{name}.yaml").write_text(
            f"defaults:\n  - /probe@probes: [prediction]\nname: {name}\n"
            f"_target_: tests.datasets.problems.{kind}\n{settings}"
        )
    return folder


@pytest.fixture(scope="module")
def within(folder):
    """within(runs, overrides..) -> those of a run of seconds in the folder `runs`."""
    base = [f"hydra.searchpath=[file://{folder}]", "scale=smoke", "tracking.uri=null", "trainer.accelerator=cpu"]
    base += ["trainer.dtype=float64", "trainer.validate_every=20", "trainer.record_every=7", "trainer.sample.at=[]"]
    return lambda runs, overrides: [*base, f"paths.runs={folder / runs}", *overrides]


@pytest.fixture(scope="module")
def whole(within):
    """whole(kind) -> the finished run, made once."""
    runs = {}

    def run(kind: str):
        if kind not in runs:
            runs[kind] = trained(*within("whole", KINDS[kind][0]))
        return runs[kind]

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_easy_is_learned_and_shown(whole, within, kind):
    overrides, good = KINDS[kind]
    run = whole(kind)
    validated = [record for record in read_lines(run.metrics) if "validation" in record]
    first, last = validated[0], validated[-1]
    assert run.finished and last["right"] >= good
    assert len(validated) == 1 or last["validation"] < first["validation"] and last["right"] >= first["right"]
    data = load_data(composed(*within("whole", overrides)).data)
    network = load_network(run, data)
    texts = ["".join(data.write(network, "", 0.0, 50, torch.Generator())) for _ in range(2)]
    assert texts[0] == texts[1]
    blocks = [block.split("\n") for block in texts[0].strip().split("\n\n")]
    assert len(blocks) == 8
    for block in blocks:
        rows = {line.split()[0]: line.split()[1:] for line in block}
        assert list(rows) == ["given"] * bool(data.given) + ["read", "answer", "right"]
        assert len(rows["read"]) == len(rows["answer"]) == len(rows["right"])
        assert [word == "·" for word in rows["answer"]] == [word == "·" for word in rows["right"]]
        places = {len(line) for line in block if not line.startswith("given")}
        assert len(places) == 1  # each under the other
    assert read_lines(run.samples)[-1]["text"].count("read") == 8


class Stopped(Exception):
    """Stands for a kill: what the process had in memory is lost."""


@pytest.mark.parametrize("kind", SOME)
def test_stopped_within_a_pass_and_resumed_is_bit_for_bit_the_uninterrupted_run(whole, within, monkeypatch, kind):
    expected = whole(kind)
    steps = read_lines(expected.metrics)[-1]["step"]
    overrides = within("resumed", [*KINDS[kind][0], "trainer.checkpoint_every=5"])
    enter, left = Learning.enter, []

    def stop(learning, batch):
        if learning.global_step == left[0]:
            raise Stopped
        enter(learning, batch)

    for left[:] in ([2], [steps // 2 + 1]):
        with monkeypatch.context() as patched:
            patched.setattr(Learning, "enter", stop)
            with pytest.raises(Stopped):
                trained(*overrides)
    run = trained(*overrides)
    assert run.path.name == expected.path.name
    assert records(run.metrics) == records(expected.metrics) and read_lines(run.samples) == read_lines(expected.samples)
    for ours, theirs in ((run.last, expected.last), (run.best, expected.best)):
        same(torch.load(ours, weights_only=False), torch.load(theirs, weights_only=False))


def rank_of_two(rank: int, port: int, every: list[list[str]]) -> None:
    from pipeline.runs import scheduler

    about = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "NODE_RANK": 0, "LOCAL_RANK": rank}
    os.environ |= {name: str(value) for name, value in about.items()}
    scheduler.RANK = rank
    for overrides in every:
        trained(*overrides)


def by_two(target, work: list) -> None:
    """target(rank, port, work) in two processes, as the ranks 0 and 1, to their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [FORKED.Process(target=target, args=(rank, port, work)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0]


def short(kind: str) -> list[str]:
    """The kind's run, or a few steps of it."""
    return [*KINDS[kind][0], *["trainer.steps=8"] * any("trainer.steps" in one for one in KINDS[kind][0])]


@pytest.fixture(scope="module")
def shared(within):
    """The short runs, by two processes, saved after every step."""
    more = ["trainer.devices=2", "trainer.checkpoint_every=1"]
    every = [within("shared", [*short(kind), *more]) for kind in SOME]
    by_two(rank_of_two, every)


@pytest.mark.parametrize("kind", SOME)
def test_two_ranks_learn_what_one_process_learns(shared, within, kind):
    alone = trained(*within("alone", [*short(kind), "trainer.checkpoint_every=1"]))
    path = alone.path.parents[2] / "shared" / "single" / alone.path.name
    ours, theirs = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=False) for run in (path, alone.path))
    # The normal equations of a reservoir make far more of the last bit.
    close(ours["state_dict"], theirs["state_dict"], 1e-6 if "ridge" in kind else 1e-9)
    close(ours["carried"], theirs["carried"])
    close(ours["loss"], theirs["loss"])
    close(ours.get("sums"), theirs.get("sums"))
    close(ours.get("hessian_free"), theirs.get("hessian_free"))
    for record, expected in zip(read_lines(path / "metrics.jsonl"), read_lines(alone.metrics), strict=True):
        assert record["targets"] == expected["targets"] > 0
        close(record | {"seconds": 0}, expected | {"seconds": 0})


def close(ours, theirs, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance / 100)


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["data=names", "model=ngram"], "model=ngram, data=names: the model counts one text .* take model=lstm or hmm"),
        (["data=names", "model=lds"], "model=lds, data=names: the model .*: take "),
        (["data=kept", "model=lds"], "model=lds, data=kept: the model .*: take "),
        (["data=kept", "model=hmm"], "model=hmm, data=kept: the model predicts the sequence .*: take model=lstm"),
        (["data=topics", "model=hmm"], "model=hmm, data=topics: the model .*: take "),
        (
            ["data=untold", "model=lstm"],
            "data=untold: the model is given vectors .*: take model=encoder_decoder",
        ),
        (["data=shift", "model=delay_taps"], "reads nothing beside the sequence: take model=lstm"),
        (["data=sum", "model=feedforward_lm"], "model=feedforward_lm, data=sum: the model reads symbols"),
        (["data=kept", "optimizer=em"], "optimizer=em: model=lstm does not learn by it: take optimizer="),
        (["data=sum", "model.embedding=4"], "model.embedding=4: symbols are embedded, numbers are read as they are"),
        (["data=kept", "data.held=0"], "data.held=0: take a whole number from 1"),
        (["data=names", "trainer.batch=91"], "trainer.batch=91: the training part of data=names has 90 sequences"),
        (["data=kept", "trainer.sample.prompt=01"], "prompt='?01'?: latch is written without a prompt"),
        (["data=kept", "readout=tied", "model.embedding=16"], "readout=tied: .* than read: take readout=linear"),
        (["data=kept", "trainer.batch=5", "trainer.devices=2"], "trainer.batch=5 cannot be shared by 2 devices"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_does_not_fit_is_refused_in_a_line_before_any_work(within, folder, overrides, said):
    with pytest.raises(Refusal, match=said) as refusal:
        trained(*within("refused", overrides))
    assert "\n" not in str(refusal.value) and not (folder / "refused").exists()


def test_the_length_of_a_window_means_nothing_to_whole_sequences(within):
    overrides = [["data=kept", "trainer.steps=2", f"trainer.length={length}"] for length in (3, 30)]
    runs = {trained(*within("length", one)).path.name for one in overrides}
    assert len(runs) == 1
