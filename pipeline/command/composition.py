"""The configuration of one run, composed from overrides: within Hydra, and where no Hydra has started."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.command.otherwise import complete
from pipeline.command.overrides import in_a_line, quoted
from pipeline.command.refusal import Refusal
from pipeline.command.settings import CONF, check
from pipeline.command.verb import HYDRAS_OWN, refused


def compose_job(job: Sequence[str]) -> DictConfig:
    """The configuration of one run. Raises Refusal for a setting that it cannot have."""
    cfg = compose("config", overrides=list(job))
    check(cfg)
    complete(cfg, job)
    return cfg


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
