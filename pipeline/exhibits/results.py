"""The form of results/studies/<study>.json, what evaluate writes and the report reads."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class Units(TypedDict):
    loss: str
    element: str
    digits: str
    also: dict[str, float]
    logarithmic: bool


class Read(TypedDict):
    """pipeline.exhibits.exhibit.Measure: how a measure is read."""

    unit: str
    digits: str
    better: Literal["low", "high"]
    title: str


class OverSeeds(TypedDict):
    mean: float | None
    std: float | None


class Run(TypedDict):
    """A run; one whose status is "failed" could not be evaluated, for a "reason"."""

    directory: str
    hash: str
    seed: int
    label: str
    status: Literal["finished", "diverged", "failed"]
    steps: int | None
    targets: int | None
    seconds: float | None
    measured: dict[str, float | None]
    doubts: dict[str, str]
    probes: dict[str, dict]


class Group(TypedDict):
    """Runs that differ in their seed alone."""

    hash: str
    label: str
    data: str
    model: str
    size: str
    asked_size: NotRequired[str]  # results from before it have none: it is their size
    split: str
    units: Units
    parameters: int
    seeds: list[int]
    ranked_by: str | None
    measured: dict[str, OverSeeds]
    by_seed: dict[str, dict[str, float | None]]
    doubts: dict[str, str]
    validation_loss: OverSeeds
    targets_per_second: OverSeeds
    diverged: int


class Claim(TypedDict):
    source: str
    claim: str
    model: str
    than: str
    relation: Literal["better", "no_worse"]
    margin: NotRequired[float | None]
    tuned: NotRequired[bool]
    lecture: NotRequired[list[str]]
    measure: str | None
    difference: float | None
    error: float | None
    seeds: int
    verdict: str
    why: str | None


class Number(TypedDict):
    data: str
    model: str
    size: str
    value: float
    of: NotRequired[str | None]


class Published(TypedDict):
    source: str
    measure: str
    within: NotRequired[float]
    note: NotRequired[str | None]
    rows: list[Number]


class Parameter(TypedDict):
    """A setting that was searched: numbers from low to high, or choices."""

    key: str
    low: float | None
    high: float | None
    whole: bool
    log: bool
    step: float | None
    choices: list[str] | None


class Trial(TypedDict):
    """A configuration that a search has tried; its value is the mean validation loss over seeds, None: it diverged."""

    number: int
    settings: dict[str, float | str]
    value: float | None


class Search(TypedDict):
    """
    name         what was compared with others
    best         number of the trial with the least value
    at_its_end   parameters whose best value is near an end of what was searched
    importances  parameter -> its part of what explains the differences; None: not enough is known
    """

    name: str
    units: Units
    seeds: list[int]
    parameters: list[Parameter]
    trials: list[Trial]
    best: int
    at_its_end: list[str]
    importances: dict[str, float] | None


class Study(TypedDict):
    study: str
    scale: str
    given: NotRequired[str | None]  # of a sweep, what names its runs
    question: str
    description: str | None
    versus: str | None
    search: NotRequired[list[Search] | None]
    lecture: NotRequired[list[str] | None]  # points of the lecture that it decides or shows
    probes: dict[str, dict]
    measures: dict[str, Read]
    runs: list[Run]
    groups: list[Group]
    claims: list[Claim] | None
    published: Published | None
