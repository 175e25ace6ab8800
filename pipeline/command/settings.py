"""Every setting of a composed configuration, held against what is declared of it, before any work.

What a choice sets is declared by the signature of the class or function that it names; what no class is made from is
declared here.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le, Lt
from omegaconf import DictConfig, OmegaConf

from pipeline.command.declared import Choice, declared
from pipeline.command.refusal import Refusal
from pipeline.command.setting import (
    Budget,
    Count,
    Name,
    NotNegative,
    Number,
    Positive,
    Seed,
    Threshold,
    Whole,
    check_value,
    shown,
)

CONF = Path(__file__).parent.parent.parent / "conf"
HYDRA = ("_target_", "_partial_")
OPTIONAL = {"encoder"}  # what data with pictures choose, and others have none of
# What the program gives, beside the settings, to what a choice makes.
GIVEN = {
    "model": {"reads", "answers", "given"},
    "cell": {"inputs", "hidden"},
    "readout": {"seen", "answers", "embedding"},
    "initialization": {"network"},
    "schedule": {"step", "steps", "epoch"},
}


# YAML 1.1, which PyYAML reads, takes 4:00:00 for the number 14400; for YAML 1.2, and for people, it is text.
TIME = ("tag:yaml.org,2002:str", re.compile(r"\d+(:\d\d?)+$"))
yaml.SafeLoader.yaml_implicit_resolvers = {
    first: [TIME, *those] if str(first).isdigit() else those
    for first, those in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Paths:
    raw: str
    prepared: str
    runs: str
    results: str
    mirror: str | None
    local: str | None


class Evaluation:
    length: Whole
    temperature: NotNegative


class TrackingSettings:
    uri: str | None
    artifacts: str


class Sample:
    every: Count | None
    at: list[Count]
    length: Whole
    temperature: NotNegative
    prompt: str


class StopAt:
    measure: str | None
    value: Number | None


class Trainer:
    batch: Count | None
    length: Count | None
    restart: Annotated[int, Ge(2)] | None
    steps: Count | None
    seconds: Positive | None
    loss: Literal["mean", "sum"]
    clip_value: Positive | None
    clip_norm: Positive | None
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None
    validate_every: Count | None
    validation_symbols: Annotated[int, Ge(2)] | None
    patience: Count | None
    stop_at: StopAt
    explode: Threshold
    dtype: Literal["float32", "float64"]
    matmul_precision: Literal["ieee", "tf32", "bf16"]
    sample: Sample
    record_every: Count
    checkpoint_every: Count | None
    weights_at: list[Count]
    engine: Literal["auto", "fused", "library", "compiled", "deferred", "reference"]
    threads: Annotated[int, Ge(1), Le(1024)]
    accelerator: Literal["auto", "cpu", "gpu", "cuda"]
    devices: Count
    nodes: Count
    progress: Literal["auto", "bar", "lines"]


class Scale:
    name: Name
    layers: Count
    hidden: Count
    states: Count
    units: Count
    passes: Count
    batch: Count
    length: Count
    steps: Count
    validate_every: Count
    validation_symbols: Annotated[int, Ge(2)] | None


class Study:
    name: Name
    question: str
    description: str
    published: dict | None
    claims: list | None
    versus: str | None
    lecture: list[str] | None
    at: dict
    probes: dict[str, Choice]
    members: list[str]
    member: str


class Data(Choice):
    name: Name
    probes: dict[str, Choice]


class Model(Choice):
    name: Name
    parameter_budget: Budget | None


class Optimizer(Choice):
    """Its `rule` declares its settings."""

    name: Name
    rule: str


class Run:
    seed: Seed
    fresh: bool | Literal["code"]
    dry_run: bool
    paths: Paths
    evaluation: Evaluation
    tracking: TrackingSettings
    data: Data
    encoder: Choice
    model: Model
    optimizer: Optimizer
    initialization: Choice
    readout: Choice
    schedule: Choice
    trainer: Trainer
    scale: Scale
    study: Study


class Setting(NamedTuple):
    place: str
    value: object
    annotation: Any


def check(cfg: DictConfig) -> None:
    """Raises Refusal for the first setting that there is not, or that has a value it cannot have."""
    for place, value, annotation in settings(cfg):
        check_value(place, value, annotation)


def settings(cfg: DictConfig) -> Iterator[Setting]:
    """Every setting of a composed configuration, scale first: others follow it. Raises Refusal for one that there is
    not."""
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    first = {key: values[key] for key in ("scale", *values) if key in values}
    yield from _within("", first, Run)


def check_choice(place: str, values: Mapping) -> None:
    """`check` of one choice, of a group of the configuration such as "model", or another such as "hydra.launcher"."""
    for where, value, annotation in _within(place, values, get_type_hints(Run).get(place, Choice)):
        check_value(where, value, annotation)


def _within(place: str, values: Mapping, kind: type) -> Iterator[Setting]:
    known, more, needed = get_type_hints(kind, include_extras=True), False, set()
    given = GIVEN.get(place.split(".")[-1], set()) if issubclass(kind, Choice) else set()
    if issubclass(kind, Choice):
        for key in ("_target_", "rule"):
            if key in values:
                found = declared(f"{place}.{key}", values[key])
                known, more = found.settings | known, more or found.open and "rule" not in values
                if "rule" not in values:  # an optimizer says itself what it needs
                    needed |= found.needed - given
    if kind not in (Study, Model) and not issubclass(kind, Choice):
        needed = set(known) - OPTIONAL
    for key in sorted(needed - set(values)):
        raise Refusal(f"{place}.{key}".lstrip(".") + ": is missing: leave out what deletes it, or give it")
    for key, value in values.items():
        where = f"{place}.{key}".lstrip(".")
        if key in HYDRA:
            if key == "_partial_" and value is not True:
                raise Refusal(f"{where}={shown(value)}: take true: the program gives the rest of what it is made from")
            continue
        if key in given or key not in known and not more:
            raise Refusal(f"{where}: there is no such setting: {nearest(key, set(known) - given, place)}")
        yield from _one(where, value, known.get(key, Any))


def _one(place: str, value: object, annotation: Any) -> Iterator[Setting]:
    of = getattr(annotation, "__args__", (None, None))[-1] if annotation == dict[str, Choice] else None
    nested = isinstance(annotation, type) and annotation.__module__ in (__name__, Choice.__module__)
    if nested or of is not None or annotation is Any and isinstance(value, dict):
        if not isinstance(value, dict):
            raise Refusal(f"{place}={value}: take a mapping of settings")
        if of is not None:
            for name, choice in value.items():
                yield from _one(f"{place}.{name}", choice, of)
        elif nested or "_target_" in value:
            yield from _within(place, value, Choice if annotation is Any else annotation)
    elif annotation is not Any:
        yield Setting(place, value, annotation)


def nearest(word: str, known: Collection[str], place: str = "") -> str:
    """What to write for a name that there is not: the known one that is like it, of a setting with its `place`, or all
    of them."""
    alike = difflib.get_close_matches(word, known, 1)
    if alike:
        return f"did you mean {place}.{alike[0]}?".replace(" .", " ")
    return f"take one of {', '.join(sorted(known))}" if known else "leave it out"
