"""The runs that a study consists of."""

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from pipeline.verb import Refusal


def runs_of(cfg: DictConfig) -> list[DictConfig]:
    """The configurations that `python -m pipeline.train -m study=...` with the same overrides trains, in its order."""
    if "question" not in cfg.study:
        raise Refusal(f"study={cfg.study.name} is no study: choose one of conf/study, e.g. study=architectures")
    # The sweep refers to the configuration around it, which Hydra does not keep beside it.
    whole = OmegaConf.create({**OmegaConf.to_container(cfg), "sweep": OmegaConf.to_container(HydraConfig.get().sweeper.params)})
    swept = OmegaConf.to_container(whole.sweep, resolve=True)
    overrides = OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in swept.items()]
                                                         + list(HydraConfig.get().overrides.task))
    [jobs] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [compose("config", overrides=job) for job in jobs]


def labels(runs: list[DictConfig]) -> list[str]:
    """A short name for each run's configuration (its seed aside): what differs within the study, e.g. "linux lstm 2x128"."""
    parts = [{"data": run.data.name,
              "model": run.model.name + (f" {run.model.layers}x{run.model.hidden}" if "hidden" in run.model else ""),
              "optimizer": run.optimizer.name} for run in runs]
    shown = [key for key in ("data", "model", "optimizer") if key == "model" or len({part[key] for part in parts}) > 1]
    return [" ".join(part[key] for key in shown) for part in parts]
