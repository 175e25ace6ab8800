"""What a search (hydra/sweeper=optuna) tries: the settings that it searches, and the choices that it compares."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from pipeline.command.composition import compose_job
from pipeline.command.otherwise import places
from pipeline.command.refusal import Refusal
from pipeline.command.setting import shown
from pipeline.command.settings import settings

RATE = "optimizer.lr"
DIGITS = 3  # of a number between two, at least


class Parameter(NamedTuple):
    """A setting whose values are searched: numbers from `low` to `high`, or `choices`.

    whole  whether the numbers are;  step  between those of a range;  log  whether their logarithms are what is drawn
    """

    key: str
    low: float | None = None
    high: float | None = None
    whole: bool = False
    log: bool = False
    step: float | None = None
    choices: tuple[str, ...] | None = None

    def word(self, value: object) -> str:
        """The override that gives the setting this value, which stands in it with few digits."""
        if self.choices is not None:
            return f"{self.key}={value}"
        if self.whole:
            return f"{self.key}={round(value)}"
        width = max(abs(self.low), abs(self.high)) / (self.high - self.low) if self.high > self.low else 1.0
        digits = 12 if self.step else DIGITS + max(0, math.ceil(math.log10(width)))
        return f"{self.key}={min(max(float(f'{value:.{digits}g}'), self.low), self.high)}"

    def ends(self) -> list[str]:
        """Overrides that give it its least and its greatest value, or each choice."""
        return [self.word(value) for value in self.choices or (self.low, self.high)]

    def __str__(self) -> str:
        if self.choices is not None:
            return f"{self.key} {', '.join(self.choices)}"
        how = " (logarithmic)" if self.log else f" in steps of {self.step:g}" if self.step else ""
        return f"{self.key} from {self.low:g} to {self.high:g}{how}"


class Searched(NamedTuple):
    """A search: one of what is compared.

    name        what it has and the others have not: "lstm adam"; of one alone its model
    words       the overrides that all of its runs have
    seeds       of each trial, whose value is the mean over them
    parameters  that are searched; none of a model without a learning rate
    usual       the override that a study has for what is searched, if it has one
    elsewhere   where more choices lie
    """

    name: str
    words: tuple[str, ...]
    seeds: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    usual: tuple[str, ...]
    elsewhere: tuple[str, ...]

    def jobs(self, values: Mapping[str, object]) -> list[list[str]]:
        """The overrides of a trial's runs, one a seed: key -> value of its parameters."""
        own = [one.word(values[one.key]) for one in self.parameters]
        return [[*self.words, *own, f"seed={seed}"] for seed in self.seeds]

    def compose(self, job: list[str]) -> DictConfig:
        return compose_job([*self.elsewhere, *job])

    def corners(self) -> Iterator[list[str]]:
        """The overrides of runs at the least values, and at the greatest and at each choice of one setting."""
        first = [one.ends()[0] for one in self.parameters]
        yield [*self.words, *first, f"seed={self.seeds[0]}"]
        for seed in self.seeds[1:]:
            yield [*self.words, *first, f"seed={seed}"]
        for place, one in enumerate(self.parameters):
            for word in one.ends()[1:]:
                yield [*self.words, *first[:place], word, *first[place + 1 :], f"seed={self.seeds[0]}"]


def is_search(hydra: DictConfig) -> bool:
    """Whether the sweeper that Hydra's own part of a configuration names is that of searches."""
    return str(hydra.sweeper.get("_target_")).endswith(".OptunaSweeper")


def searches_of(overrides: Mapping[str, Override], own: set[str], hydra: DictConfig) -> list[Searched]:
    """What `python -m pipeline.train -m hydra/sweeper=optuna` searches: a search for each combination of values between
    commas, of what interval, range and choice say; where nothing is said so, of the learning rate, in the range that
    hydra.sweeper.rates has for the model, in place of rates that the study has.

    overrides  key -> the override of the study or the command line;  own  keys that the command line gives
    Raises Refusal for a range that is none, and where there is nothing to search.
    """
    asked = [one for key, one in overrides.items() if is_searched(one) and key != "seed"]
    for one in asked:
        parameter(one, None)  # refuses what is no range before its ends are tried
    fixed = {key: one for key, one in overrides.items() if one not in asked and key != "seed"}
    rates = not asked and RATE not in own  # what is to be searched
    usual = _values(fixed.pop(RATE)) if rates and RATE in fixed else []
    usual = tuple(f"{RATE}={value}" for value in usual if len(usual) == 1)
    seeds = tuple(_values(overrides["seed"])) if "seed" in overrides else ("0",)
    elsewhere = tuple(places(hydra))
    axes = {key: _values(one) for key, one in fixed.items()}
    found = []
    for values in itertools.product(*axes.values()):
        words = tuple(f"{key}={value}" for key, value in zip(axes, values))
        name = " ".join(value for (key, some), value in zip(axes.items(), values) if len(some) > 1)
        first = [f"{key}={_first(overrides[key])}" for key in (one.get_key_element() for one in asked)]
        cfg = compose_job([*elsewhere, *words, *usual, *first, f"seed={seeds[0]}"])
        kinds = {place: annotation for place, _, annotation in settings(cfg)}
        parameters = tuple(parameter(one, kinds.get(one.get_key_element().lstrip("+"))) for one in asked)
        if rates and "lr" in cfg.optimizer:
            parameters = (rate(cfg, OmegaConf.to_container(hydra.sweeper.rates)),)
        found.append(Searched(name or cfg.model.name, words, seeds, parameters, usual if parameters else (), elsewhere))
    if not any(one.parameters for one in found):
        raise Refusal(
            "hydra/sweeper=optuna: there is nothing to search: say it with interval, range or choice, as "
            f"'{RATE}=tag(log,interval(1e-4,1e-1))' model.hidden=range(64,257,64), or take a model that has a rate"
        )
    return found


def is_searched(override: Override) -> bool:
    value = override.value()
    return isinstance(value, IntervalSweep | RangeSweep) or isinstance(value, ChoiceSweep) and not value.simple_form


def parameter(override: Override, annotation: Any) -> Parameter:
    """What an override searches of a setting that has this annotation; Refusal for what cannot be searched."""
    key, value, text = override.get_key_element(), override.value(), override.input_line
    if isinstance(value, ChoiceSweep):
        return Parameter(key, choices=tuple(dict.fromkeys(_values(override))))
    if isinstance(value, RangeSweep):
        numbers = [] if value.step == 0 else sorted(value.range())
        if not numbers:
            raise Refusal(f"{text}: has no number: take range(low,high,step), which ends before high")
        if "log" in value.tags:
            raise Refusal(f"{text}: a range has equal steps: take tag(log,interval({value.start},{value.stop}))")
        low, high = numbers[0], numbers[-1]
        whole = all(isinstance(one, int) for one in numbers)
        return Parameter(key, *(map(int if whole else float, (low, high))), whole=whole, step=abs(value.step))
    low, high, log = value.start, value.end, "log" in value.tags
    if not low < high or not math.isfinite(high - low):
        raise Refusal(f"{text}: take interval(low,high) with low below high")
    if log and low <= 0:
        raise Refusal(f"{text}: a logarithm asks for numbers above 0: take low above 0, or leave out tag(log,...)")
    whole = _numbers(annotation) == {int}  # Hydra makes both ends of an interval floats
    if whole and not (low.is_integer() and high.is_integer()):
        raise Refusal(f"{text}: {key} takes whole numbers: take interval({math.ceil(low)},{math.floor(high)})")
    return Parameter(key, *(map(int if whole else float, (low, high))), whole=whole, log=log)


def rate(cfg: DictConfig, rates: Mapping[str, object]) -> Parameter:
    """The learning rates to search for a composed run: those of its model, by hydra.sweeper.rates, which are told as
    multiples of the one that the configuration has otherwise."""
    name = cfg.model.name if cfg.model.name in rates else "default"
    low, high = rates[name]
    return Parameter(RATE, float(f"{low * cfg.optimizer.lr:.3g}"), float(f"{high * cfg.optimizer.lr:.3g}"), log=True)


def check_rates(rates: object) -> None:
    """Raises Refusal for hydra.sweeper.rates that are none."""
    if not isinstance(rates, dict) or "default" not in rates:
        raise Refusal("hydra.sweeper.rates: take a mapping of models, and default, to [low, high]")
    for model, ends in rates.items():
        numbers = isinstance(ends, list) and [one for one in ends if isinstance(one, int | float)]
        if not numbers or len(ends) != 2 or len(numbers) != 2 or not 0 < numbers[0] < numbers[1] < math.inf:
            raise Refusal(f"hydra.sweeper.rates.{model}={shown(ends)}: take [low, high] with 0 below low below high")


def _values(override: Override) -> list[str]:
    """What stands right of = in each of the overrides that one stands for."""
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if isinstance(override.value(), IntervalSweep):
        raise Refusal(f"{override.input_line}: every trial is trained with each seed: take some, as seed=0,1,2")
    return list(override.sweep_string_iterator())


def _first(override: Override) -> object:
    value = override.value()
    if not isinstance(value, IntervalSweep | RangeSweep):
        return _values(override)[0]
    whole = isinstance(value.start, float) and value.start.is_integer()
    return int(value.start) if whole else value.start


def _numbers(annotation: Any) -> set[type]:
    """Kinds of numbers that an annotation allows."""
    parts = {annotation, *get_args(annotation), *(inner for part in get_args(annotation) for inner in get_args(part))}
    return {int, float} & {part for part in parts if isinstance(part, type)}
