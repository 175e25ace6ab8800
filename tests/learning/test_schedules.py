import math

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.files.whole import read_lines
from pipeline.learning import schedules
from pipeline.learning.learning import Learning
from tests.runs.test_resume import records, same


def of_rate(schedule):
    """(step, ...) -> the factor on the learning rate, the only one that these schedules set."""

    def factor(*arguments, **settings):
        [(name, value)] = schedule(*arguments, **settings).items()
        assert name == "lr"
        return value

    return factor


constant, cosine, epoch_decay = map(of_rate, (schedules.constant, schedules.cosine, schedules.epoch_decay))


def test_constant():
    assert {constant(step, 100, 10) for step in range(100)} == {1.0}


def test_epoch_decay_is_karpathys():
    # 20 steps an epoch: full rate through epoch 11, then 0.95 an epoch.
    factors = [epoch_decay(step, 1000, 20, after=10, factor=0.95) for step in (0, 199, 219, 220, 239, 240)]
    assert factors == pytest.approx([1, 1, 1, 0.95, 0.95, 0.95**2])


def test_cosine_warms_up_and_ends_at_the_floor():
    factors = [cosine(step, 110, 10, warmup=10, floor=0.2) for step in range(111)]
    assert factors[0] == 0.1 and factors[9] == factors[10] == 1.0
    assert factors[60] == pytest.approx(0.6) and factors[110] == pytest.approx(0.2)
    assert factors[35] == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)


def rising(step: int, steps: int, epoch: int, least: float) -> dict[str, float]:
    """A schedule of two settings: lr falls, momentum rises from `least` on."""
    return {"lr": 1 - step / steps, "momentum": least + (1 - least) * step / steps}


@pytest.fixture
def schedule(tmp_path):
    (tmp_path / "conf" / "schedule").mkdir(parents=True)
    file = tmp_path / "conf" / "schedule" / "rising.yaml"
    file.write_text("_target_: tests.learning.test_schedules.rising\n_partial_: true\nleast: 0.5\n")
    return [f"hydra.searchpath=[file://{tmp_path}/conf]", "schedule=rising"]


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_a_schedule_of_rate_and_momentum_goes_on_where_a_run_was_stopped(run_in, schedule, monkeypatch, optimizer):
    overrides = [*schedule, f"optimizer={optimizer}", "trainer.steps=16", "trainer.checkpoint_every=5"]
    overrides += ["trainer.sample.at=[]", "trainer.record_every=1", "trainer.validate_every=8"]
    whole = run_in(*overrides, "study.name=whole")
    seen, enter = [], Learning.enter

    def watch(learning, batch):
        [group] = learning.trainer.optimizers[0].param_groups
        seen.append((group["lr"], group["momentum"] if "momentum" in group else group["betas"][0]))
        assert "betas" not in group or group["betas"][1] == 0.999
        if len(seen) == 13:
            raise KeyError("stopped")
        enter(learning, batch)

    monkeypatch.setattr(Learning, "enter", watch)
    with pytest.raises(KeyError, match="stopped"):
        run_in(*overrides)
    run = run_in(*overrides)
    lr = {"adam": 0.002, "nesterov": 0.1}[optimizer]
    expected = [(lr * (1 - step / 16), 0.9 * (0.5 + step / 32)) for step in [*range(13), *range(10, 16)]]
    assert seen == [pytest.approx(pair) for pair in expected]
    assert [record["rate"] for record in read_lines(run.metrics)][:2] == pytest.approx([lr * 15 / 16, lr * 14 / 16])
    assert records(run.metrics) == records(whole.metrics)
    same(*(torch.load(one.last, weights_only=False) for one in (run, whole)))


def test_a_schedule_of_what_an_optimizer_lacks_is_refused_before_any_work(run_in, schedule, tmp_path):
    with pytest.raises(
        Refusal, match="^optimizer=adagrad: the schedule sets its momentum, which it does not have: take"
    ):
        run_in(*schedule, "optimizer=adagrad")
    assert not list(tmp_path.glob("runs/*/*"))
