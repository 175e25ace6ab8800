"""Models made of finished runs, as runs: what they are, what they need, and that they go on."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pipeline.command.composition import compose_job
from pipeline.command.otherwise import complete
from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF
from pipeline.datasets.data import load_data
from pipeline.learning.statistics import StatisticsLearning
from pipeline.probes.held_out import held_out
from pipeline.runs.building import load_network
from pipeline.runs.directory import RunDirectory
from pipeline.runs.identity import identify
from pipeline.runs.session import train_run
from pipeline.runs.settling import settle
from pipeline.runs.study import labels
from tests.conftest import composed, prepared_text, trained, words
from tests.runs.test_resume import same

MEMBERS = {"constant": ["model=constant"], "rnn": ["model=rnn", "model.hidden=4"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> list[str]:
    """Overrides with which there are two finished runs, of two seeds each."""
    folder = tmp_path_factory.mktemp("members")
    overrides = [*prepared_text(folder, words(2000)), "scale=smoke", "tracking.uri=null", "trainer.sample.at=[]"]
    overrides.append("trainer.validation_symbols=600")
    for seed in (0, 1):
        for more in MEMBERS.values():
            trained(*overrides, "trainer.steps=2", f"seed={seed}", *more)
    return overrides


@contextmanager
def job(*overrides: str):
    """The configuration of a run, as verbs have it, where further ones can be composed."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield compose_job(list(overrides))


def settled(*overrides: str):
    with job(*overrides) as cfg:
        data = load_data(cfg.data)
        return settle(cfg, data), data


def refusal(*overrides: str) -> str:
    with pytest.raises(Refusal) as found:
        settled(*overrides)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_a_run_is_the_same_by_name_and_by_settings_and_of_one_hash_over_seeds(base):
    by_settings = 'model.members=["model=constant trainer.steps=2","model=rnn model.hidden=4 trainer.steps=2"]'
    found = [settled(*base, "model=mixture", by_settings, f"seed={seed}") for seed in (0, 1)]
    ours, others = (identify(*one) for one in found)
    assert ours.hash == others.hash and ours.name != others.name
    names = [one.directory.rpartition("/")[2] for one in found[0][0].model.networks]
    assert [name[-2:] for name in names] == ["s0", "s0"]
    assert identify(*settled(*base, "model=mixture", f"model.members=[{','.join(names)}]")).name == ours.name
    assert labels([cfg for cfg, _ in found])[0][0] == "mixture"
    of_other_seeds = f"model.members=[{','.join(names).replace('s0', 's1')}]"
    assert identify(*settled(*base, "model=mixture", of_other_seeds)).hash != ours.hash


def test_what_is_learned_goes_on_exactly_and_outlives_the_members(base, monkeypatch):
    """Interrupted within a pass; and the network is that of the run when its members are gone."""
    runs = next(one for one in base if one.startswith("paths.runs=")).partition("=")[2]
    [member] = Path(runs).glob("single/*-rnn-*-s0")
    overrides = [*base, "model=dynamic_evaluation", f"model.member={member}", "model.rates=[0,1]"]

    def run(runs: str) -> RunDirectory:
        return trained(*overrides, "trainer.checkpoint_every=1", f"paths.runs={runs}")

    whole = run(f"{runs}-whole")
    learn, done = StatisticsLearning.learn, []

    def interrupted(self, batch):
        if len(done) == 4:
            done.append("interrupt")
            raise KeyboardInterrupt
        done.append(learn(self, batch))

    monkeypatch.setattr(StatisticsLearning, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(f"{runs}-parts")
    monkeypatch.setattr(StatisticsLearning, "learn", learn)
    parts = run(f"{runs}-parts")
    for ours, theirs in ((parts.last, whole.last), (parts.best, whole.best)):
        same(torch.load(ours, weights_only=False), torch.load(theirs, weights_only=False))
    kept, own = (torch.load(path, weights_only=True)["network"] for path in (whole.best, RunDirectory(member).best))
    assert all(torch.equal(kept[f"networks.0.{name}"], part.double()) for name, part in own.items())
    data = load_data(whole.config().data)
    loss = held_out(load_network(whole, data), data, "validation", 600).loss
    assert loss == pytest.approx(whole.facts["validation"], rel=1e-12)
    shutil.move(runs, f"{runs}-gone")
    try:
        assert held_out(load_network(whole, data), data, "validation", 600).loss == loss
    finally:
        shutil.move(f"{runs}-gone", runs)


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["model=mixture"], r"model.members=[]: take finished runs, as model.members=[RUN,RUN]"),
        (["model=cache"], "model.member=: take a finished run, as model.member=RUN"),
        (["model=mixture", "model.members=[nobody]"], "model.members=nobody: no run is called so; the last ones are"),
        (["model=mixture", "model.members=[rnn,rnn]", "paths.runs=ONE"], "is named twice: name each run once"),
        (["model=cache", "model.member=rnn", "trainer.batch=4", "paths.runs=ONE"], "reads the validation part as it"),
        (["model=cache", "model.member='model=rnn'"], "has not finished: train it first"),
        (["model=mixture", 'model.members=["seed=1"]'], "it would be made of itself: say its model too"),
        (
            ["model=cache", "model.member='model=rnn \"x'"],
            'model=rnn "x: no closing quotation: take settings',
        ),
        (["model=cache", 'model.member="model.size=9"'], "it would be made of itself: say its model too"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_it_cannot_be_made_of_is_refused_in_a_line(base, tmp_path, overrides, said):
    runs = next(one for one in base if one.startswith("paths.runs=")).partition("=")[2]
    if "paths.runs=ONE" in overrides:
        [one] = [path for path in (tmp_path.parent / runs).glob("single/*-rnn-*-s0")]
        shutil.copytree(one, tmp_path / "single" / one.name)
    assert said in refusal(*base, *(one.replace("ONE", str(tmp_path)) for one in overrides))


def test_a_dry_run_names_what_waits_for_its_members(base, capsys):
    with job(*base, "model=cache", 'model.member="model=gru"', "dry_run=true") as cfg:
        assert train_run(cfg) == float("inf")
    assert capsys.readouterr().out == "model=cache seed=0  would start when the runs that it is made of have finished\n"


def test_runs_on_other_data_are_refused(base, tmp_path):
    other = prepared_text(tmp_path, words(2000, seed=1), "other")
    runs = next(one for one in base if one.startswith("paths.runs="))
    [name] = [path.name for path in (tmp_path / runs.partition("=")[2]).glob("single/*-rnn-*-s0")]
    said = refusal(*other, runs, "scale=smoke", "model=cache", f"model.member={name}")
    assert "was trained on other data than data=other (fingerprint " in said and "take runs on the same data" in said


def test_a_member_by_settings_has_those_of_the_run_but_what_is_about_the_same():
    cfg = composed("model=mixture", 'model.members=["model=rnn seed=3",here]', "seed=1", "scale=smoke")
    complete(cfg, ["study=mixtures", "model=mixture", "model.average=linear", "seed=1", "+data.name=a b", "seeds=2"])
    assert list(cfg.model.members) == ["study=mixtures '+data.name=a b' seeds=2 model=rnn seed=3", "here"]
