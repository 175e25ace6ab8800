"""The configurations of runs, composed from overrides: within Hydra, and where no Hydra has started."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.command.otherwise import complete, key_of
from pipeline.command.overrides import in_a_line, quoted
from pipeline.command.refusal import Refusal
from pipeline.command.replaced import leave_out_replaced
from pipeline.command.settings import CONF, check
from pipeline.command.verb import HYDRAS_OWN, refused


def compose_job(job: Sequence[str]) -> DictConfig:
    """The configuration of one run. Raises Refusal for a setting that it cannot have."""
    return _checked(compose("config", overrides=list(job)), job)


def _checked(cfg: DictConfig, job: Sequence[str]) -> DictConfig:
    leave_out_replaced(cfg, job)
    check(cfg)
    complete(cfg, job)
    return cfg


def compose_jobs(jobs: Sequence[Sequence[str]]) -> Iterator[DictConfig]:
    """`compose_job` of each. What chooses is composed once for each combination of choices; settings in which the jobs
    differ are put into a copy of that, a tenth of the work."""
    loader = GlobalHydra.instance().config_loader()
    is_choice = cache(lambda name: bool(loader.get_group_options(name)))
    alike = set.intersection(*map(set, jobs)) if jobs else set()
    composed: dict[tuple[str, ...], DictConfig] = {}

    def is_setting(word: str) -> bool:
        name, given, _ = word.partition("=")
        return bool(given) and name.replace(".", "").isidentifier() and not is_choice(name)

    for job in jobs:
        own = [word for word in job if is_setting(word) and word not in alike and not word.startswith("hydra.")]
        rest = tuple(word for word in job if word not in own)
        try:
            if _order_counts(key_of(word) for word in job if not is_choice(key_of(word))):
                raise OmegaConfBaseException
            if rest not in composed:
                composed[rest] = compose("config", overrides=list(rest))
            cfg = copy.deepcopy(composed[rest])
            for one in OverridesParser.create().parse_overrides(own):
                OmegaConf.update(cfg, one.key_or_group, one.value(), merge=True)
        except (OmegaConfBaseException, HydraException):  # which Hydra itself words better
            yield compose_job(job)
        else:
            yield _checked(cfg, job)


def _order_counts(keys: Iterable[str]) -> bool:
    """Whether one of them comes twice, or beside a part of it."""
    return any(after == before or after.startswith(f"{before}.") for before, after in pairwise(sorted(keys)))


@contextmanager
def composed(*overrides: str) -> Iterator[DictConfig]:
    """The configuration of one run, from what a command line would say of it, and within the block Hydra, by which
    others are composed; after it what there was before.

    Raises Refusal, also from within the block, for what Hydra refuses, and for an override of several values.
    """
    words = [quoted(word) for word in overrides]
    instance = GlobalHydra.instance()
    before = instance.hydra
    instance.clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            for word in words:
                if OverridesParser.create().parse_override(word).is_sweep_override():
                    raise Refusal(f"{word}: several values: take one, or a list, key=[a,b]")
            yield compose_job(words)
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        raise refused(error, words) from None
    except ValueError as error:
        if not str(error).startswith(HYDRAS_OWN):
            raise
        raise Refusal(in_a_line(error, CONF, words)) from None
    finally:
        GlobalHydra.instance().hydra = before
