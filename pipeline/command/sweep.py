"""The runs of a sweep (-m): what they are, and that all of them can be before the first one begins."""

import os
import sys
from importlib.util import find_spec

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pipeline.command.composition import compose_job
from pipeline.command.otherwise import places
from pipeline.command.refusal import Refusal
from pipeline.command.settings import check_choice
from pipeline.command.space import Searched, check_rates, is_search, searches_of
from pipeline.command.verb import SWEPT, refused

SLURM = "hydra_plugins.slurm_launcher.SlurmLauncher"


def jobs_of(cfg: DictConfig, hydra: DictConfig) -> list[list[str]]:
    """The overrides of each run that `python -m pipeline.train -m` with the same overrides trains, in its order.

    hydra  Hydra's own part of the configuration
    """
    overrides = [*_of_study(cfg, hydra), *of_command(hydra)]
    for one in overrides:
        if isinstance(one.value(), IntervalSweep):
            raise Refusal(f"{one.input_line}: what lies between two numbers is searched: add hydra/sweeper=optuna")
    [jobs] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [[*places(hydra), *job] for job in jobs]


def searched(cfg: DictConfig, hydra: DictConfig) -> list[Searched]:
    """The searches of `python -m pipeline.train -m hydra/sweeper=optuna` with the same overrides. Raises
    Refusal where Optuna is not installed, and for what cannot be searched."""
    if find_spec("optuna") is None:
        raise Refusal(
            "hydra/sweeper=optuna: Optuna is not installed: pip install optuna, or '.[search]' of this project"
        )
    given = of_command(hydra)
    overrides = {one.get_key_element(): one for one in [*_of_study(cfg, hydra), *given]}
    return searches_of(overrides, {one.get_key_element() for one in given}, hydra)


def _of_study(cfg: DictConfig, hydra: DictConfig) -> list[Override]:
    # The sweep refers to the configuration around it, which Hydra does not keep beside it.
    whole = OmegaConf.create(
        {**OmegaConf.to_container(cfg), "sweep": OmegaConf.to_container(hydra.sweeper).get("params") or {}}
    )
    swept = OmegaConf.to_container(whole.sweep, resolve=True)
    return OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in swept.items()])


def of_command(hydra: DictConfig) -> list[Override]:
    """The overrides of the command line, without those of Hydra itself."""
    return OverridesParser.create().parse_overrides(SWEPT or list(hydra.overrides.task))


def without_hydra(config: DictConfig) -> DictConfig:
    """The configuration that a run has, of that which a callback is given."""
    return OmegaConf.create({key: value for key, value in OmegaConf.to_container(config).items() if key != "hydra"})


class CheckedSweep(Callback):
    """Refuses a sweep of which one run has a setting that it cannot have, before the first run begins.

    Runs are looked at that differ from the first in one override at most: every value of each, not every combination;
    of what is searched the ends.
    """

    def on_multirun_start(self, config: DictConfig, **more: object) -> None:
        plain = without_hydra(config)
        try:
            check_choice("hydra.launcher", OmegaConf.to_container(config.hydra.launcher))
            at_once = config.hydra.launcher.get("n_jobs", 1)
            if not isinstance(at_once, int) or at_once == 0:
                raise Refusal(
                    f"hydra.launcher.n_jobs={at_once}: take a whole number from 1, or -1 for one a core or GPU"
                )
            if is_search(config.hydra):
                _check_search(config.hydra)
                jobs = [[*one.elsewhere, *job] for one in searched(plain, config.hydra) for job in one.corners()]
            else:
                jobs = jobs_of(plain, config.hydra)
                if config.hydra.launcher._target_ == SLURM:  # which looks at all of them
                    return
                jobs = [job for job in jobs if sum(one != other for one, other in zip(jobs[0], job)) <= 1]
            for job in jobs:
                _refuse_process_groups(compose_job(job), config.hydra.launcher)
            if plain.dry_run and at_once != 1:
                config.hydra.launcher.n_jobs = 1  # in this process, which adds up how long all of them take
            elif at_once < 0 and compose_job(jobs[0]).trainer.accelerator != "cpu":
                _give_each_a_gpu(config)
        except (Refusal, HydraException, OmegaConfBaseException) as error:
            sys.exit(f"error: {refused(error)}")  # of other exceptions Hydra only warns


def _check_search(hydra: DictConfig) -> None:
    sweeper = OmegaConf.to_container(hydra.sweeper)
    check_choice("hydra.sweeper", sweeper)
    check_rates(sweeper["rates"])
    if hydra.launcher.get("wait") is False:
        raise Refusal("hydra.launcher.wait=false: a search waits for its runs, to learn from them: leave it out")


def _refuse_process_groups(cfg: DictConfig, launcher: DictConfig) -> None:
    """Refusal: one of several devices in the processes of a sweep. SLURM starts each run's in a job of its own."""
    if "SLURM_STEP_NUM_TASKS" in os.environ or launcher._target_ == SLURM:
        return
    if cfg.trainer.devices * cfg.trainer.nodes > 1:
        raise Refusal(
            f"trainer.devices={cfg.trainer.devices} x nodes={cfg.trainer.nodes} in a multirun: one process group "
            "trains one configuration; leave out -m, sweep with devices=1, or take hydra/launcher=slurm, a job a run"
        )


def _give_each_a_gpu(config: DictConfig) -> None:
    """As many runs at once as there are GPUs, if any: pipeline.runs.gpus."""
    import torch

    if torch.cuda.device_count():
        with open_dict(config):
            config.hydra.launcher.n_jobs = torch.cuda.device_count()
