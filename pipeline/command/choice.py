"""From a choice of a configuration group to the object that it names."""

import functools
from collections.abc import Callable, Mapping

from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate

from pipeline.command.refusal import Refusal

FOR_PEOPLE = ("name", "probes")  # what a choice says to people and to evaluation; its class need not know


def make(choice: Mapping, **more: object) -> object:
    """What the `_target_` of a choice makes from its settings, and from `more` of them. Raises Refusal where it refuses
    them."""
    try:
        return instantiate({key: value for key, value in choice.items() if key not in FOR_PEOPLE} | more)
    except InstantiationException as error:  # Hydra's, around what was raised
        if isinstance(error.__cause__, Refusal):
            raise error.__cause__ from None
        raise


def function(choice: Mapping) -> Callable:
    """The function that the `_target_` of a choice names, with its settings. What Hydra makes of `_partial_: true`
    looks up the target at each call, which takes longer than a training step of a small network."""
    settings = {key: value for key, value in choice.items() if key not in ("_target_", "_partial_", *FOR_PEOPLE)}
    return functools.partial(get_method(choice["_target_"]), **settings)
