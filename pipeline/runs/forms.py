"""The form of the files of a run."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class Code(TypedDict):
    commit: str | None
    dirty: bool | None
    copy: NotRequired[str]  # which a job ran: slurm/copies.py
    sources: NotRequired[dict[str, str | None]]  # of each module that it was trained by, pipeline.runs.code.digest


class LossUnits(TypedDict):
    """pipeline.datasets.space.Units, without torch."""

    loss: str
    element: str
    digits: str
    also: dict[str, float]
    logarithmic: bool


class Facts(TypedDict):
    """run.json, but for what a run of each status has beside it."""

    name: str
    study: str
    hash: str
    seed: int
    status: Literal["running", "stopped", "finished", "diverged"]
    created: str
    code: Code
    machine: NotRequired[str]
    process: int
    data: str
    parameters: int
    units: LossUnits
    mlflow_run_id: str | None
    mlflow_waits: NotRequired[bool]  # it has ended, and MLflow could not be told


class Finished(TypedDict):
    validation: float


class Diverged(TypedDict):
    reason: str


OF_STATUS = {"finished": Finished, "diverged": Diverged}


class Record(TypedDict):
    """A line of metrics.jsonl."""

    step: int
    targets: int
    seconds: float
    rate: float | None
    train: float
    smoothed: float
    validation: NotRequired[float]
    right: NotRequired[float]


class Sample(TypedDict):
    """A line of samples.jsonl."""

    step: int
    targets: int
    prompt: str
    temperature: float
    text: str


class Made(TypedDict):
    """A choice of a configuration that an object is made from."""

    name: str
    _target_: str


class HowTrained(TypedDict):
    threads: int
    dtype: Literal["float32", "float64"]


class Settled(TypedDict):
    """What is read of config.yaml."""

    seed: int
    data: Made
    model: Made
    trainer: HowTrained
