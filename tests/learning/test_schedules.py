import math

import pytest
import torch

from pipeline.command.refusal import Refusal
from pipeline.files.whole import read_lines
from pipeline.learning import schedules
from pipeline.learning.gradient import put_setting
from pipeline.learning.learning import Learning
from tests.conftest import composed
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


def test_rising_momentum_is_sutskevers():
    def momentum(step, **settings):
        settings = {"most": 0.995, "every": 250, "last": 1000, "end": 0.9} | settings
        [(name, factor)] = schedules.rising_momentum(step, 50_000, 10, **settings).items()
        assert name == "momentum"
        return factor * settings["most"]

    steps = [0, 249, 250, 500, 999, 1000, 24_749, 24_999, 25_000, 48_999]
    by_hand = [min(1 - 2 ** (-1 - math.log2(math.floor(step / 250) + 1)), 0.995) for step in steps]
    assert [momentum(step) for step in steps] == pytest.approx(by_hand, rel=1e-12)
    assert by_hand[:4] == pytest.approx([0.5, 0.5, 0.75, 5 / 6]) and by_hand[-2:] == [0.995, 0.995]
    assert [momentum(step) for step in (49_000, 49_999)] == pytest.approx([0.9, 0.9])
    assert [momentum(step, most=0.9) for step in (0, 1000, 1250, 49_500)] == pytest.approx([0.5, 0.9, 0.9, 0.9])
    assert momentum(48_999, most=0.0) == momentum(49_000, most=0.0) == 0.0


def test_it_wants_an_optimizer_with_momentum():
    taken = composed("schedule=rising_momentum", "optimizer.momentum=0.98")
    assert (taken.optimizer.name, taken.schedule.most) == ("nesterov", 0.98)
    assert composed("schedule=rising_momentum", "optimizer=momentum").optimizer.name == "momentum"
    with pytest.raises(Refusal, match="^schedule.most=null: take a number from 0, below 1$"):
        composed("schedule=rising_momentum", "optimizer=sgd")


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


def resting(step: int, steps: int, epoch: int, least: float) -> dict[str, float]:
    """The learning rate and momentum are named late, and momentum is 0 for a while."""
    late = {"lr": 0.5} if step % 4 == 3 else {}
    return late if step < 3 else late | {"momentum": float(not 5 <= step < 9)}


def velocities(schedule, optimizer: str, steps: int) -> list[float]:
    """The places on f(w) = w^2 / 2 that momentum's own equations lead to, in float64 arithmetic by hand."""
    w, v, lr, momentum, found = 1.0, 0.0, 0.1, 0.9, []
    for step in range(steps):
        factors = schedule(step, steps, 1, least=0.0)
        lr, momentum = 0.1 * factors.get("lr", lr / 0.1), 0.9 * factors.get("momentum", momentum / 0.9)
        v = momentum * v + w
        w -= lr * (w + momentum * v if optimizer == "nesterov" else v)
        found.append(w)
    return found


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov"])
def test_momentum_rests_at_zero_with_its_velocity(optimizer):
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    made = torch.optim.SGD([weight], lr=0.1, momentum=0.9, nesterov=optimizer == "nesterov")
    settings, found = dict(made.param_groups[0]), []
    for step in range(16):
        for name, factor in resting(step, 16, 1, 0.0).items():
            put_setting(made.param_groups[0], name, settings[name], factor)
        weight.grad = weight.detach().clone()
        made.step()
        found.append(weight.item())
    assert found == pytest.approx(velocities(resting, optimizer, 16), rel=1e-12)


def test_settings_that_are_named_late_go_on_where_a_run_was_stopped(run_in, tmp_path, schedule, monkeypatch):
    file = tmp_path / "conf" / "schedule" / "rising.yaml"
    file.write_text(file.read_text().replace("rising", "resting"))
    overrides = [*schedule, "optimizer=momentum", "trainer.steps=12", "trainer.checkpoint_every=6"]
    overrides += ["trainer.sample.at=[]", "trainer.record_every=1", "trainer.validate_every=12"]
    whole = run_in(*overrides, "study.name=whole")
    enter = Learning.enter
    rates = [record["rate"] for record in read_lines(whole.metrics)]  # of the next step each
    assert rates == [0.1, 0.1] + [0.05] * 10

    def stop(learning, batch):
        if learning.global_step == 8:
            raise KeyError("stopped")
        enter(learning, batch)

    monkeypatch.setattr(Learning, "enter", stop)
    with pytest.raises(KeyError, match="stopped"):
        run_in(*overrides)
    monkeypatch.setattr(Learning, "enter", enter)
    run = run_in(*overrides)
    assert records(run.metrics) == records(whole.metrics)
    same(*(torch.load(one.last, weights_only=False) for one in (run, whole)))


def between(step: int, steps: int, epoch: int, least: float) -> dict[str, float]:
    return {"momentum": 1.0} if step == 3 else {"lr": 1.0}


def test_a_name_that_no_optimizer_has_is_refused_when_it_comes(run_in, schedule, tmp_path):
    file = tmp_path / "conf" / "schedule" / "rising.yaml"
    file.write_text(file.read_text().replace("rising", "between"))
    with pytest.raises(Refusal, match="^step 4: the schedule sets its momentum, which it does not have: take another"):
        run_in(*schedule, "optimizer=adagrad", "trainer.steps=6")


def test_a_schedule_of_what_an_optimizer_lacks_is_refused_before_any_work(run_in, schedule, tmp_path):
    with pytest.raises(
        Refusal, match="^optimizer=adagrad: the schedule sets its momentum, which it does not have: take"
    ):
        run_in(*schedule, "optimizer=adagrad")
    assert not list(tmp_path.glob("runs/*/*"))
