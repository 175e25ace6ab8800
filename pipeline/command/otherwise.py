"""Runs that a setting names by what they have otherwise than the run that is composed: "model=rnn seed=1"."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal


def by_settings(name: str) -> bool:
    """Whether a run is named by settings, and not by its name or directory."""
    return "=" in name and not Path(name).exists()


def complete(cfg: DictConfig, job: Sequence[str]) -> None:
    """Puts in place of each run that the model of `cfg` names by settings all the overrides of that run: those of this
    one (`job`) that are not about the same choice or setting, and its own."""
    model = cfg.get("model") or {}
    if model.get("members"):
        names = OmegaConf.to_container(model.members, resolve=True)
        model.members = [_whole("model.members", name, job) for name in names]
    if model.get("member"):
        model.member = _whole("model.member", model.member, job)


def _whole(place: str, name: str, job: Sequence[str]) -> str:
    if not by_settings(name):
        return name
    try:
        own = shlex.split(name)
    except ValueError as error:
        why = f"{str(error)[0].lower()}{str(error)[1:]}"
        raise Refusal(f"{place}={name}: {why}: take settings as a shell reads them") from None
    keys = [key_of(word) for word in own]
    kept = [word for word in job if not any(key_of(word) == key or key_of(word).startswith(f"{key}.") for key in keys)]
    return shlex.join([*kept, *own])


def key_of(word: str) -> str:
    """What an override is about."""
    return word.partition("=")[0].lstrip("+~")


def places(hydra: DictConfig) -> list[str]:
    """Where more choices lie, which is said to Hydra itself and not handed on."""
    return [one for one in hydra.overrides.hydra if one.startswith("hydra.searchpath=")]
