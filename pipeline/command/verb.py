"""How a verb (`python -m pipeline.<verb>`) starts and how it refuses."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline.command.refusal import Refusal

CONF = Path(__file__).parent.parent.parent / "conf"


def in_sweep() -> bool:
    """Whether this is one of the runs of a multirun (-m)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def verb(task: Callable[[DictConfig], object]) -> Callable[[], None]:
    """The command-line entry of `task`: composes the configuration, runs,
    prints a refusal as one line and exits with 1.

    Ctrl-C exits with 130. Any other exception is a defect and shows its traceback.
    """

    @functools.wraps(task)
    def alone(cfg: DictConfig) -> object:
        try:
            return task(cfg)
        except Refusal as refusal:
            if in_sweep():  # the other runs go on; Hydra hands the refusal on at the end
                raise
            sys.exit(f"error: {refusal}")

    def main() -> None:
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands exceptions on instead of printing them
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(alone)()
        except (Refusal, HydraException, OmegaConfBaseException) as refusal:
            sys.exit(f"error: {refusal}")
        except KeyboardInterrupt:
            sys.exit(130)

    return main
