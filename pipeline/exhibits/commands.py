"""The commands that train and evaluate the runs of a study, as the report tells them."""

from collections.abc import Mapping


def training(study: Mapping, *more: str) -> str:
    """What trains them; of a sweep, with the overrides that named it."""
    return " ".join(["python -m pipeline.train -m", _named(study), *more])


def evaluating(study: Mapping) -> str:
    return " ".join(["python -m pipeline.evaluate", *["-m"] * bool(study.get("given")), _named(study)])


def _named(study: Mapping) -> str:
    return study.get("given") or f"study={study['study']} scale={study['scale']}"
