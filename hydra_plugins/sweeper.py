"""Hydra's sweeper, without composing every run twice: pipeline.command.sweep and the launchers look at them."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class Sweeper(BasicSweeper):
    """The product of all values, as Hydra's own."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Hydra composes each run here, a tenth of a second, and again when it begins."""
