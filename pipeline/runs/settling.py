"""From a composed configuration to one in which every number stands: what it leaves to the data, and what fits what."""

import copy
import re
import shlex
from functools import cache
from pathlib import Path

import torch
import yaml
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.command.choice import make
from pipeline.command.composition import compose_job, composed
from pipeline.command.otherwise import by_settings
from pipeline.command.refusal import Refusal
from pipeline.command.setting import LIKE, shown
from pipeline.command.settings import CONF
from pipeline.datasets.batch import check_shared
from pipeline.datasets.data import Data, load_data
from pipeline.learning.rule import Rule
from pipeline.models.model import SequenceModel
from pipeline.runs.directory import RunDirectory, find_run
from pipeline.runs.goal import Goal
from pipeline.runs.identity import identify


class Unfinished(Refusal):
    """Of a run that is to be made of another one, which has not finished."""


USUAL = {"readout": "linear", "schedule": "constant", "initialization": "library"}  # which stand for none too
RUNS_WANTED = {
    "members": "take finished runs, as model.members=[RUN,RUN]",
    "member": "take a finished run, as model.member=RUN",
}


def settle(cfg: DictConfig, data: Data) -> DictConfig:
    """A copy of the composed `cfg` with numbers in place of what it leaves to the data: a width from a budget of
    parameters, the batches of passes over the data. Runs that its model is made of stand in it with their models.

    Raises Refusal where model, data and optimizer do not fit one another, or a setting has a value that no run can
    have.
    """
    refuse_misfits(cfg, data)
    settled = copy.deepcopy(cfg)
    _settle_members(settled, data)
    _settle_width(settled.model, data)
    rule_of(settled).settle(settled, data)
    for key in ("batch", "steps", "validate_every", "checkpoint_every"):
        if settled.trainer[key] is None:
            raise Refusal(f"trainer.{key}=null: take a whole number from 1")
    check_shared(settled.trainer.batch, settled.trainer.devices * settled.trainer.nodes)
    Goal.of(settled, data)  # refuses one that cannot be reached
    data.check_asked("validation", settled.trainer.validation_symbols)
    data.check_asked(data.judged_on)
    return settled


def rule_of(cfg: DictConfig) -> type[Rule]:
    """The learning rule that the choice of `optimizer` names."""
    return get_class(cfg.optimizer.rule)


def model_of(cfg: DictConfig) -> type[SequenceModel]:
    return get_class(cfg.model._target_)


def refuse_misfits(cfg: DictConfig, data: Data) -> None:
    """Raises Refusal when the model does not learn by what `optimizer` names, or cannot be had on these data."""
    model, rule = model_of(cfg), rule_of(cfg).name
    if rule not in model.learned_by:
        fitting = [name for name, of in _rules().items() if of in model.learned_by]
        raise Refusal(
            f"optimizer={cfg.optimizer.name}: model={cfg.model.name} does not learn by it: "
            f"take optimizer={', '.join(fitting)}, or leave it out"
        )
    followed = "gradient" in model.learned_by
    for group, has in {"readout": "readout" in cfg.model, "schedule": followed, "initialization": followed}.items():
        chosen = _choice(group, cfg[group]._target_)
        if not has and chosen != USUAL[group]:
            raise Refusal(
                f"{group}={chosen}: model={cfg.model.name} has no {group} to choose: leave it out, or take model=lstm "
                "or another recurrent network"
            )
    if "encoder" in cfg and "encoder" not in cfg.data:
        raise Refusal(f"encoder=...: data={cfg.data.name} has no pictures: leave it out, or take data=scenes")
    why = model.fits(data)
    if why is not None:
        raise Refusal(f"model={cfg.model.name}, data={cfg.data.name}: the model {why}")


@cache
def _rules() -> dict[str, str]:
    """The learning rule of each choice of `optimizer`."""
    files = {file.stem: yaml.safe_load(file.read_text()) for file in sorted(Path(CONF, "optimizer").glob("*.yaml"))}
    return {name: get_class(choice["rule"]).name for name, choice in files.items()}


@cache
def _choice(group: str, target: str) -> str:
    """The name of the choice of a group that makes `target`; that itself where none does."""
    files = sorted(Path(CONF, group).glob("*.yaml"))
    return next((file.stem for file in files if yaml.safe_load(file.read_text()).get("_target_") == target), target)


def _settle_members(cfg: DictConfig, data: Data) -> None:
    """Of each run that the model is made of its directory, hash, seed and model, as `model.networks`; the state starts
    anew where that of a member did. Raises Refusal for a run that has not finished, or was trained on other data."""
    model = cfg.model
    key = next((key for key in ("members", "member") if key in model), None)
    if key is None:
        return
    names = list(model.members) if key == "members" else [model.member]
    if not names or not all(names):
        raise Refusal(f"model.{key}={shown(names) if key == 'members' else ''}: {RUNS_WANTED[key]}")
    found, restarts = [], []
    for name in names:
        run = RunDirectory(_member(f"model.{key}", name, cfg))
        facts, place = run.facts, f"model.{key}={name}"
        if facts.get("status") != "finished":
            raise Unfinished(f"{place}: {run.path} has not finished: train it first")
        if facts["data"] != data.card["fingerprint"]:
            raise Refusal(
                f"{place}: {run.path} was trained on other data than data={cfg.data.name} (fingerprint "
                f"{facts['data'][:12]}, not {data.card['fingerprint'][:12]}): take runs on the same data and split"
            )
        if run.path in [Path(one["directory"]) for one in found]:
            raise Refusal(f"{place}: {run.path} is named twice: name each run once")
        own = run.config()
        found.append(
            {"directory": str(run.path), "hash": facts["hash"], "seed": facts["seed"]}
            | {"model": OmegaConf.to_container(own.model, resolve=True)}
        )
        restarts.append(own.trainer.get("restart"))
    with open_dict(cfg):
        model.networks = found
    model[key] = [one["directory"] for one in found] if key == "members" else found[0]["directory"]
    if cfg.trainer.restart is None:
        cfg.trainer.restart = min((restart for restart in restarts if restart is not None), default=None)


def _member(place: str, name: str, cfg: DictConfig) -> Path:
    """The directory of the run that `name` means: it is called so, or has these settings."""
    if not by_settings(name):
        return find_run(name, Path(cfg.paths.runs), place)
    member = compose_job(shlex.split(name))
    if name in [*member.model.get("members", []), member.model.get("member")]:
        raise Refusal(f'{place}: it would be made of itself: say its model too, as "model=rnn seed=1"')
    return directory_of(member)


def located(cfg: DictConfig) -> tuple[DictConfig, Data, Path]:
    """The composed run, settled, with its data and where it is, or will be. Raises Refusal where its data cannot be
    read: they are a part of its identity."""
    data = load_data(cfg.data)
    settled = settle(cfg, data)
    return settled, data, identify(settled, data).directory


def directory_of(cfg: DictConfig) -> Path:
    """Where the composed run is, or will be."""
    return located(cfg)[2]


def _settle_width(model: DictConfig, data: Data) -> None:
    """Sets model.hidden to the largest width whose network has at most model.parameter_budget parameters, or as many as
    the network that it names, where one is given."""
    asked = model.get("parameter_budget")
    if asked is None:
        return

    def parameters(hidden: int, of: DictConfig = model) -> int:
        with torch.device("meta"):
            return build(OmegaConf.merge(of, {"hidden": hidden}), data).count_parameters()

    if isinstance(asked, str):
        name, layers, hidden = re.fullmatch(LIKE, asked).groups()
        try:
            with composed(f"model={name}", f"model.layers={layers}") as like:
                budget = parameters(int(hidden), like.model)
        except Refusal as error:
            raise Refusal(f"model.parameter_budget={asked}: {error}") from None
    else:
        budget = asked

    low, high = 0, 1
    while parameters(high) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) <= budget else (low, middle)
    if low == 0:
        raise Refusal(
            f"model.parameter_budget={asked}: {model.name} has {parameters(1)} parameters with one unit: take more"
        )
    model.hidden = low


def build(model: DictConfig, data: Data) -> SequenceModel:
    """The model that `model` describes on these data, freshly drawn from torch's global generator."""
    settings = {key: value for key, value in model.items() if key not in ("parameter_budget", "networks")}
    within = {"networks": [build(one.model, data) for one in model.networks]} if "networks" in model else {}
    return make({**settings, "_partial_": True})(data.reads, data.answers, data.given, **within)
