"""Prints what lets a shell complete the words after `lab`: verbs, choices, settings, and values where these are few.

In this shell, or in every new one by a line of ~/.bashrc or ~/.zshrc:
  eval "$(lab completion bash)"
  eval "$(lab completion zsh)"
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

VERBS = {  # verb -> the package that it lies in, and what it does
    "fetch": ("pipeline", "gets a corpus"),
    "prepare": ("pipeline", "makes arrays of it"),
    "train": ("pipeline", "trains one run, or with -m those of a sweep or a study"),
    "debug": ("pipeline", "tries three steps of a run and shows what goes on in them"),
    "evaluate": ("pipeline", "measures a study's runs"),
    "report": ("pipeline", "writes the page"),
    "sample": ("pipeline", "lets a trained run write"),
    "status": ("slurm", "says where runs are"),
    "submit": ("slurm", "puts a run into SLURM's queue"),
    "logs": ("slurm", "prints the log of a run's job"),
    "cancel": ("slurm", "ends a study's jobs in SLURM's queue"),
    "completion": ("pipeline", "prints what lets a shell complete these words"),
}
SCRIPTS = {
    # What bash completes may begin after the last "=" or ":" only.
    "bash": r"""_lab() {
    local line="${COMP_LINE:0:COMP_POINT}" word before
    word="${line##* }"
    mapfile -t COMPREPLY < <("$1" completion of "$line" 2>/dev/null)
    before="${word%"${word##*[=:]}"}"
    [[ $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"$before"}")
}
complete -o nospace -F _lab lab
""",
    "zsh": r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_lab() {
    local -a found
    found=("${(@f)$("${words[1]}" completion of "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    compadd -Q -S '' -a found
}
compdef _lab lab
""",
}
OTHERS = ("tuned", "hydra", "sweep")  # which are not for people, but where they ask for them


def candidates(line: str) -> list[str]:
    """How the last word of a command line that begins with `lab` may go on, as whole words; those before it stand."""
    _, *before, word = line.split(" ")
    before = [one for one in before if one]
    if not before:
        return [f"{verb} " for verb in VERBS if verb.startswith(word)]
    verb, *others = before
    if verb == "completion":
        return _beginning(SCRIPTS, word)
    if verb == "sample":
        from pipeline.sample import DEFAULTS

        return _of_run(DEFAULTS, word)
    if verb == "logs":
        from slurm.logs import DEFAULTS

        return _of_run(DEFAULTS, word)
    return _of_settings(others, word) if verb in VERBS else []


def _beginning(known: Iterable[str], word: str) -> list[str]:
    return sorted(one for one in known if one.startswith(word))


def _of_run(settings: Mapping[str, object], word: str) -> list[str]:
    """Of what is about one run that there is."""
    runs = [f"run={file.parent}" for file in Path(settings["runs"]).glob("*/[!.]*/run.json")]
    return _beginning(runs if word.startswith("run=") else [f"{key}=" for key in settings], word)


def _of_settings(others: list[str], word: str) -> list[str]:
    """Of groups of choices and of settings; of the last of several values after commas."""
    key, equals, value = word.partition("=")
    several, comma, last = value.rpartition(",")
    asked = f"{key}{equals}{last}"
    found = _asked_of_hydra([one for one in others if not one.startswith("-")], asked)
    return _beginning((f"{key}={several}{comma}{one.partition('=')[2]}" for one in found) if comma else found, word)


def _asked_of_hydra(others: list[str], word: str) -> set[str]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from pipeline.command.refusal import Refusal
    from pipeline.command.settings import CONF, settings

    with initialize_config_dir(str(CONF), version_base="1.3"):
        query = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())._query
        found = set(query("config", " ".join([*others, word])))
        try:
            cfg = compose("config", overrides=others)
            known = {one.place: one.annotation for one in settings(cfg)}
        except (Refusal, HydraException, OmegaConfBaseException):
            cfg, known = OmegaConf.create(), {}
    key = word.partition("=")[0]
    found |= {f"{key}={value}" for value in _values(known.get(key.lstrip("+"), Any))} if "=" in word else set()
    # Hydra takes lists for more settings, and groups with folders within for none of choices.
    found = {
        f"{one[:-1]}=" if one.endswith(".") and OmegaConf.is_list(OmegaConf.select(cfg, one[:-1])) else one
        for one in found
    }
    groups = [folder.name for folder in CONF.iterdir() if folder.is_dir()]
    found = {f"{one}=" if one in groups else one for one in found}
    return {one for one in found if word or not one.startswith(OTHERS)} - {one for one in found if "._" in one}


def _values(annotation: Any) -> list[str]:
    """Those of an annotation that has few."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if annotation in (bool, None, type(None)):
        return ["true", "false"] if annotation is bool else ["null"]
    return [value for one in get_args(annotation) for value in _values(one)]


def main() -> None:
    match sys.argv[1:]:
        case [shell] if shell in SCRIPTS:
            print(SCRIPTS[shell], end="")
        case ["of", line]:
            print("\n".join(candidates(line)))
        case ["-h" | "--help"] | []:
            print(__doc__.strip())
        case words:
            sys.exit(f"error: {' '.join(words)}: take {' or '.join(SCRIPTS)}")


if __name__ == "__main__":
    main()
