"""hydra/sweeper=optuna: a sweep whose runs are chosen by what came of those before. docs/search.md"""

from typing import Annotated

from annotated_types import Gt
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from pipeline.command.setting import Count, Whole


class OptunaSweeper(Sweeper):
    """Searches the settings that the words of a sweep give as interval, range or choice.

    Its arguments are those of conf/hydra/sweeper/optuna.yaml.
    """

    def __init__(
        self,
        n_trials: Count,
        timeout: Annotated[float, Gt(0)] | None,
        seed: Whole,
        params: dict | None,
        rates: dict,
    ):
        pass  # pipeline.runs.search reads them

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from pipeline.command.sweep import searched, without_hydra
        from pipeline.command.terminal import meanwhile

        with meanwhile("loading ..."):
            from pipeline.runs.search import search, would_search

        cfg, hydra = without_hydra(self.config), self.config.hydra
        if cfg.dry_run:
            would_search(cfg, hydra, searched(cfg, hydra))
            return
        search(cfg, hydra, searched(cfg, hydra), self.launcher.launch, at_once(hydra.launcher))


def at_once(launcher: DictConfig) -> int:
    """How many runs a launcher trains side by side: SLURM's array, or the processes of a pool."""
    import joblib

    jobs = launcher.get("at_once") or launcher.get("n_jobs", 1)
    return jobs if jobs > 0 else joblib.cpu_count()
