"""The command line of a verb that composes no configuration: KEY=VALUE words of few keys."""

import sys
from collections.abc import Callable, Mapping, Sequence

from pipeline.command.refusal import Refusal
from pipeline.command.terminal import HELP, give_up_output, replace_what_cannot_be_shown


def read_arguments(words: Sequence[str], defaults: Mapping[str, str | int | float], flags: Sequence[str] = ()) -> dict:
    """`defaults` with the values of KEY=VALUE words, each of the type of its default, and for each of `flags`, such as
    --follow, whether it is among the words. Raises Refusal for other words."""
    values = dict(defaults) | {flag.lstrip("-"): flag in words for flag in flags}
    for word in words:
        if word in flags:
            continue
        key, equals, value = word.partition("=")
        if not equals or key not in defaults:
            known = ", ".join(defaults) + "".join(f", or {flag}" for flag in flags)
            raise Refusal(f"{word!r}: give key=value with a key of {known} (and quotes around a value with spaces)")
        try:
            values[key] = type(defaults[key])(value)
        except ValueError:
            whole = "whole " * isinstance(defaults[key], int)
            raise Refusal(f"{key}={value}: take a {whole}number") from None
    return values


def verb_of_arguments(
    task: Callable[..., None], about: str, defaults: Mapping[str, str | int | float], flags: Sequence[str] = ()
) -> Callable[[], None]:
    """The command-line entry of `task`, which is given what read_arguments reads: a refusal, or what the file system
    refuses, is one line and exit status 1; Ctrl-C and a reader that wants no more are 130. --help prints `about`."""

    def main() -> None:
        if HELP & set(sys.argv[1:]):
            print(about.strip())
            return
        replace_what_cannot_be_shown()
        try:
            task(**read_arguments(sys.argv[1:], defaults, flags))
            sys.stdout.flush()
        except (KeyboardInterrupt, BrokenPipeError):
            give_up_output()
            sys.exit(130)
        except (Refusal, OSError) as error:
            from pipeline.command.verb import refused

            give_up_output()
            sys.exit(f"error: {refused(error)}")

    return main
