"""How a verb (`python -m pipeline.<verb>`) starts and how it refuses."""

import difflib
import errno
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.command.otherwise import complete, places
from pipeline.command.overrides import first_value, in_a_line, quoted
from pipeline.command.refusal import Refusal
from pipeline.command.replaced import leave_out_replaced
from pipeline.command.settings import CONF, check, check_choice
from pipeline.command.terminal import HELP, give_up_output, replace_what_cannot_be_shown

MULTIRUN = {"-m", "--multirun"}
SWEPT: list[str] = []  # the overrides of a sweep (-m) that this command takes as a whole
INTERRUPTS: list[int] = []  # that came to this process before it trained
HYDRAS_OWN = ("Config group override", "Only one of")  # how its ValueErrors begin, which are no other kind of error


def in_sweep() -> bool:
    """Whether this is one of the runs of a multirun (-m)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def refuse_study(cfg: DictConfig) -> None:
    """Refusal: a study where one run is asked for."""
    if "question" in cfg.study and not in_sweep():
        raise Refusal(
            f"study={cfg.study.name} is a sweep of several runs: "
            f"add -m (python -m pipeline.train -m study={cfg.study.name})"
        )


def verb(
    task: Callable[[DictConfig], object], asked: Sequence[str], sweeps: bool = False, whole: bool = False
) -> Callable[[], None]:
    """The command-line entry of `task`: composes the configuration, checks every setting, runs, prints a refusal as one
    line and exits with 1.

    asked   groups of choices and settings that people want most: those of `--help`
    sweeps  whether it can be run several times, by -m
    whole   whether -m names the runs of a sweep, which it takes together
    Ctrl-C exits with 130. What the file system refuses (a full disk, a folder that cannot be written) is a refusal too.
    Any other exception is a defect and shows its traceback.
    """

    @functools.wraps(task)
    def alone(cfg: DictConfig) -> object:
        try:
            hydra = HydraConfig.get()
            leave_out_replaced(cfg, hydra.overrides.task)
            check(cfg)
            check_choice("hydra.launcher", OmegaConf.to_container(hydra.launcher))
            complete(cfg, [*places(hydra), *hydra.overrides.task])
            return task(cfg)
        except (Refusal, HydraException, OmegaConfBaseException, OSError) as error:
            refusal = refused(error)
            if in_sweep():  # the other runs go on; Hydra hands the refusal on at the end
                raise refusal from None
            give_up_output()
            sys.exit(f"error: {refusal}")
        except Exception:
            end_if_interrupted()  # within an import, which then says something else
            raise

    def main() -> None:
        take_interrupts()
        replace_what_cannot_be_shown()
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its fonts is no warning
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands exceptions on instead of printing them
        try:
            flags = [word for word in sys.argv[1:] if word in MULTIRUN]
            if flags and not (sweeps or whole):
                raise Refusal(f"{flags[0]}: this command runs once, for a study as a whole: leave it out")
            words = [quoted(word) for word in sys.argv[1:] if word not in MULTIRUN]
            if flags and whole:
                flags, SWEPT[:] = [], [word for word in words if not word.lstrip("+~-").startswith("hydra")]
                words = [first_value(word) for word in words]
            sys.argv[1:] = flags + words
            refuse_flags()
            if HELP & set(sys.argv[1:]):
                from pipeline.command.manual import manual

                print(manual(task, asked, given(), CONF))
                return
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(alone)()
        except (Refusal, HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError, OSError) as error:
            sys.exit(f"error: {refused(error)}")
        except ValueError as error:
            if not str(error).startswith(HYDRAS_OWN):
                raise
            sys.exit(f"error: {in_a_line(error, CONF, given())}")
        except KeyboardInterrupt:
            sys.exit(130)

    return main


def refuse_flags() -> None:
    """Raises Refusal for flags that Hydra does not have, or not together."""
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        first = message.removeprefix("unrecognized arguments: ").split()[0]
        if first.startswith("-") and first != message:
            flags = [flag for action in parser._actions for flag in action.option_strings]
            alike = difflib.get_close_matches(first, flags, 1, cutoff=0.8)
            key = first.lstrip("-").partition("=")[0]
            mend = f"did you mean {alike[0]}?" if alike else f"a setting is written {key}=VALUE, without dashes"
            raise Refusal(f"{first}: there is no such flag: {mend}")
        raise Refusal(f"{message}: --hydra-help lists the flags")

    parser.error = error
    parser.parse_args(sys.argv[1:])


def take_interrupts() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt, unless it is ignored here, and notes that it came."""

    def interrupt(number: int, frame: object) -> None:
        INTERRUPTS.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)


def end_if_interrupted() -> None:
    """Raises KeyboardInterrupt where Ctrl-C came and an import has swallowed it."""
    if INTERRUPTS:
        raise KeyboardInterrupt from None


def given() -> list[str]:
    """The overrides of the command line."""
    return [word for word in sys.argv[1:] if not word.startswith("-")]


def refused(error: Exception, words: Sequence[str] | None = None) -> Refusal:
    """What Hydra or the file system refuses, as a refusal.

    words  the overrides that Hydra was given; None: those of the command line
    """
    if isinstance(error, Refusal):
        return error
    if not isinstance(error, OSError) or isinstance(error, HydraException):  # a choice that there is not is both
        return Refusal(in_a_line(error, CONF, given() if words is None else words))
    if not (error.filename or error.errno):
        return Refusal(str(error).splitlines()[0])
    elsewhere = ": name a folder that can be written to (paths.raw, paths.prepared, paths.runs or paths.results)"
    mend = {errno.ENOSPC: ": make room, and the same command goes on", errno.EDQUOT: ": make room"}
    mend |= dict.fromkeys([errno.EROFS, errno.ENOTDIR], elsewhere)
    return Refusal(f"{error.filename or 'writing'}: {error.strerror}{mend.get(error.errno, '')}")
