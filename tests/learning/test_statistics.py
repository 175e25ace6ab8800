"""Models learned in passes: what ranks, interruptions and windows must not change."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as lightning
import torch

from pipeline.command.refusal import Refusal
from pipeline.datasets.space import Symbols
from pipeline.files.whole import read_lines
from pipeline.learning.statistics import StatisticsLearning, SumsAcrossRanks
from pipeline.models.model import StatisticsModel
from tests.conftest import composed, prepared_text, trained, words
from tests.test_train import command, finish

MODELS = {
    "hmm": ["model=hmm", "optimizer.passes=2", "trainer.batch=4", "trainer.length=300"],
    "lds": [
        "model=lds",
        "data=sine",
        "data.length=2000",
        "optimizer.passes=2",
        "trainer.batch=4",
        "trainer.length=150",
    ],
    "echo_state": [
        "model=echo_state",
        "data=mackey_glass",
        "data.length=2000",
        "trainer.batch=4",
        "trainer.length=150",
        "model.washout=20",
    ],
    "ngram": ["model=ngram", "model.order=4", "trainer.batch=4", "trainer.length=300"],
    "hopfield": ["model=hopfield", "data=attractors", "data.episodes=20", "data.held=10", "trainer.batch=4"],
}


@pytest.fixture
def overrides_of(tmp_path):
    """model -> overrides of a run of seconds that stays in the test's folder."""

    def overrides(model: str) -> list[str]:
        series = any(override.startswith("data=") for override in MODELS[model])
        folder = (
            [f"paths.runs={tmp_path}/runs", f"paths.results={tmp_path}/results"]
            if series
            else prepared_text(tmp_path, words(4000))
        )
        return [*folder, "scale=smoke", "tracking.uri=null", "trainer.accelerator=cpu", *MODELS[model]]

    return overrides


def learned(path) -> dict:
    return torch.load(path / "checkpoints" / "best.ckpt", weights_only=True)["network"]


@pytest.mark.parametrize("model", MODELS)
def test_two_ranks_learn_what_one_process_learns(overrides_of, tmp_path, model):
    overrides = overrides_of(model)
    alone = trained(*overrides)
    code, out, err = finish(command(*overrides, f"paths.runs={tmp_path}/runs2", "trainer.devices=2"))
    assert code == 0, err
    [path] = (file.parent for file in tmp_path.glob("runs2/*/*/run.json"))
    assert path.name == alone.path.name
    ours, theirs = learned(path), learned(alone.path)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-8)
    for record, expected in zip(read_lines(path / "metrics.jsonl"), read_lines(alone.metrics), strict=True):
        assert record["step"] == expected["step"] and record["train"] == pytest.approx(expected["train"], rel=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_stopped_within_a_pass_it_goes_on_exactly(overrides_of, tmp_path, monkeypatch, model):
    overrides = [*overrides_of(model), "trainer.checkpoint_every=1"]
    whole = trained(*overrides)
    overrides.append(f"paths.runs={tmp_path}/runs2")
    learn, count = StatisticsLearning.learn, 0

    def fails_at_the_third(*arguments):
        nonlocal count
        count += 1
        if count == 3:
            raise OSError("the machine stops")
        return learn(*arguments)

    monkeypatch.setattr(StatisticsLearning, "learn", fails_at_the_third)
    with pytest.raises(OSError):
        trained(*overrides)
    again = trained(*overrides)
    for name, value in learned(whole.path).items():
        assert torch.equal(learned(again.path)[name], value), name


class Sums(StatisticsModel):
    def __init__(self):
        super().__init__(Symbols(2), Symbols(2))

    def zero_statistics(self, elements: int) -> dict[str, torch.Tensor]:
        return {"seen": torch.zeros(elements)}


@pytest.mark.parametrize("rank, kept", [(0, [1.0, 2.0]), (1, [0.0, 0.0]), (3, [0.0, 0.0])])
def test_what_was_saved_of_all_ranks_only_the_first_goes_on_with(monkeypatch, rank, kept):
    monkeypatch.setattr(StatisticsLearning, "global_rank", rank)
    learning = StatisticsLearning(Sums(), SimpleNamespace(nothing=0.0, elements=2, own=slice(None)))
    zero = torch.zeros((), dtype=torch.float64)
    saved = {"global_step": 0, "carried": [], "loss": (zero, zero, 0, 0), "sums": {"seen": torch.tensor([1.0, 2.0])}}
    learning.on_load_checkpoint(saved)
    learning.on_train_start()
    assert learning.sums["seen"].tolist() == kept


def test_each_pass_updates_once_and_is_validated_once(run_in):
    run = run_in("model=hmm", "optimizer.passes=3", "trainer.batch=4", "trainer.length=1000", "trainer.record_every=1")
    records = read_lines(run.metrics)
    windows = run.config().trainer.steps // 3
    assert windows == 4 and [record["step"] for record in records if "validation" in record] == [4, 8, 12]
    assert records[0]["train"] > records[4]["train"] > records[8]["train"]


@pytest.mark.parametrize(
    "overrides, message",
    [
        (
            ["model=hmm", "optimizer=adam"],
            "optimizer=adam: model=hmm does not learn by it: take optimizer=em, or leave it out",
        ),
        (
            ["model=lstm", "optimizer=count"],
            "optimizer=count: model=lstm does not learn by it: take optimizer=adagrad, adam, .*sgd, untrained, or "
            "leave it out",
        ),
        (
            ["model=hmm", "trainer.steps=100"],
            "trainer.steps=100: model=hmm learns in passes over the data: set optimizer.passes instead",
        ),
        (["model=lds"], "model=lds, data=text: the model predicts real-valued series"),
        (["model=hmm", "optimizer.passes=0"], "optimizer.passes=0: take a whole number from 1"),
    ],
)
def test_what_does_not_fit_is_refused(run_in, overrides, message):
    with pytest.raises(Refusal, match=message):
        run_in(*overrides)


@pytest.mark.parametrize("model", ["ngram", "feedforward_lm"])
def test_a_model_of_symbols_reads_no_series(tmp_path, model):
    with pytest.raises(Refusal, match=f"model={model}, data=sine: the model "):
        trained(f"model={model}", "data=sine", "scale=smoke", "tracking.uri=null", f"paths.runs={tmp_path}/runs")
    assert not (tmp_path / "runs" / "single").exists() or not any((tmp_path / "runs" / "single").glob("*/run.json"))


def test_the_model_chooses_its_rule():
    for model, rule in (
        ("hmm", "em"),
        ("lds", "em"),
        ("echo_state", "ridge"),
        ("ngram", "count"),
        ("lstm", "rmsprop"),
        ("delay_taps", "rmsprop"),
    ):
        assert composed(f"model={model}").optimizer.name == rule


def test_several_gpus_set_up_a_model_without_gradients(monkeypatch):
    """Lightning asks a module on a GPU for what only one with gradients has."""
    monkeypatch.setattr(SumsAcrossRanks, "root_device", torch.device("cuda", 1))
    strategy, module = SumsAcrossRanks(), lightning.LightningModule()
    strategy.model = module
    strategy.configure_ddp()
    assert strategy.model is module
