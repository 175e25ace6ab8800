"""What a sweep prints at its end."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pipeline.command.settings import CONF
from pipeline.command.sweep import without_hydra
from pipeline.runs.directory import RunDirectory
from pipeline.runs.outcome import table


@pytest.mark.parametrize(
    "words, evaluated",
    [
        (["study=architectures"], "study=architectures"),
        (["study=architectures", "model=rnn,gru"], "-m study=architectures model=rnn,gru"),
        (["model=rnn"], "-m model=rnn"),
    ],
)
def test_what_evaluates_the_runs_is_named_as_it_is_taken(words, evaluated, small, monkeypatch):
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        one = [word for word in words if "," not in word]
        cfg = compose("config", overrides=[*one, *small], return_hydra_config=True)
        cfg.hydra.overrides.task = [*words, *small]
        units = {"loss": "nats/char", "digits": ".4f"}
        facts = {"status": "finished", "validation": 1.0, "parameters": 7, "units": units}
        monkeypatch.setattr(RunDirectory, "facts", facts)
        said = table(without_hydra(cfg), cfg.hydra).splitlines()[-1]
    assert said.startswith(f"on held-out data: lab evaluate {evaluated} ")


@pytest.mark.parametrize("element, head", [("char", ["validation,", "nats/char"]), ("word", ["validation"])])
def test_losses_stand_in_their_own_units(element, head, small, monkeypatch):
    """As of study=knows, which reads one text by characters and by words."""
    GlobalHydra.instance().clear()
    losses = iter([("char", 1.5), (element, 4.25)])

    def facts(run) -> dict:
        unit, loss = next(losses)
        units = {"loss": f"nats/{unit}", "digits": ".4f"}
        return {"status": "finished", "validation": loss, "parameters": 7, "units": units}

    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("config", overrides=small, return_hydra_config=True)
        cfg.hydra.overrides.task = ["model=rnn,gru", *small]
        monkeypatch.setattr(RunDirectory, "facts", property(facts))
        _, first, *rows, _ = table(without_hydra(cfg), cfg.hydra).splitlines()
    assert first.split() == ["parameters", *head, "seeds"]
    unit = {"char": "", "word": " nats/{}"}[element]
    for row, (said, loss) in zip(rows, [("char", "1.5000"), (element, "4.2500")], strict=True):
        assert f"{loss}{unit.format(said)} " in row


def test_a_width_that_a_budget_gives_is_shown(small, monkeypatch):
    """Of 24 symbols: H (24 + H + 1) + 24 (H + 1) = 984 with H = 15."""
    GlobalHydra.instance().clear()
    units = {"loss": "nats/char", "digits": ".4f"}
    facts = {"status": "finished", "validation": 1.0, "parameters": 7, "units": units}
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose("config", overrides=small, return_hydra_config=True)
        cfg.hydra.overrides.task = ["model=rnn", "model.parameter_budget=1000", "seed=0,1", *small]
        monkeypatch.setattr(RunDirectory, "facts", facts)
        _, _, row, _ = table(without_hydra(cfg), cfg.hydra).splitlines()
    assert row.startswith("rnn 1x15 ")
