"""The equations of a study's models, as the docstrings of their classes state them."""

from collections.abc import Iterable, Iterator, Mapping

from pipeline.command.declared import described

ROOMS = ("pipeline.cells.", "pipeline.models.")
ALIKE = ("pipeline.models.readout.",)  # what nearly all of them have


def equations(models: Iterable[Mapping]) -> list[dict]:
    """{"target": a class, "models": the names of those made of it, "text": its docstring}, each class once and cells
    first, which hold most of what models differ in.

    models  the group `model` of each run's configuration
    """
    found: dict[str, dict[str, None]] = {}
    for model in models:
        for target in targets(model):
            found.setdefault(target, {})[model["name"]] = None
    texts = {target: described(target) for target in sorted(found, key=lambda target: not target.startswith(ROOMS[0]))}
    return [{"target": target, "models": list(found[target]), "text": text} for target, text in texts.items() if text]


def targets(node: Mapping) -> Iterator[str]:
    """The cells and models that a choice makes, itself and what it is made of."""
    target = node.get("_target_", "")
    if target.startswith(ROOMS) and not target.startswith(ALIKE):
        yield target
    for part in node.values():
        if isinstance(part, Mapping):
            yield from targets(part)
