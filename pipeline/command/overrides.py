"""What is wrong with the words of a command line, in one line: Hydra says it in several, and of the wrong word."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.command.settings import HYDRA, nearest

QUOTES = "put a value that has spaces, commas, brackets, = or quotes into quotes within quotes, \"key='...'\""


def quoted(word: str) -> str:
    """An override as Hydra reads it: a value that its grammar does not take, such as a path with = or a quote in it, as
    text in quotes. A word that is no override stays as it is."""
    key, equals, value = word.partition("=")
    if not equals or word.startswith("-") or _unreadable(word) is None:
        return word
    text = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), value)
    return f"{key}='{text}'" if _unreadable(f"{key}='{text}'") is None else word


def first_value(word: str) -> str:
    """An override with the first of the values that it is swept over; a word that sweeps nothing stays as it is."""
    try:
        override = OverridesParser.create().parse_override(word)
        if isinstance(override.value(), IntervalSweep):
            return f"{override.get_key_element()}={override.value().start:g}"
        return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
    except (HydraException, ValueError):
        return word


def _unreadable(word: str) -> str | None:
    """Why Hydra's grammar does not take an override; None where it does."""
    try:
        OverridesParser.create().parse_override(word)
        return None
    except HydraException as error:
        return str(error).splitlines()[1 if str(error).startswith("Error parsing") else 0].strip()


def in_a_line(error: Exception, conf: Path, words: Sequence[str]) -> str:
    """The value, the place and the mend.

    words  the overrides that Hydra was given
    """
    text = str(error)
    if found := re.search(r"Could not find '(?:(.+)/)?([^/']+)'", text):
        group, choice = found.groups()
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        return f"{group}={choice}: there is no such choice: {nearest(choice, options)}"
    if found := re.search(r"Could not override '([^']+)'", text):
        return _no_such_setting(found[1].split("@")[0], conf, words)
    if found := re.search(r"Ambiguous value for argument '(.+)'", text):
        return f"{found[1]}: several values: add -m to run each, or write key=[a,b] for a list; {QUOTES}"
    if found := re.search(r"Sweep parameters '(.+)' requires", text):
        return f"{found[1]}: values to choose from: add -m, and hydra/sweeper=optuna to search them"
    if isinstance(error, (yaml.YAMLError, UnicodeDecodeError)):
        return next(_unread(conf), text.splitlines()[0])
    for word in words:
        reason = _unreadable(word)
        if reason is not None:
            reason = reason if "=" in word else "no value"
            return f"{word}: cannot be read ({reason}): give key=value without spaces around =, and {QUOTES}"
    if "Config group override" in text:
        word = next((word for word in words if re.fullmatch(r"[\w/]+=(null|\W*)", word)), "a group of choices")
        return f"{word}: a group takes the name of a choice: `--help` lists them"
    place = re.search(r"full_key: (\S+)", text)
    lines = [line for line in text.strip().splitlines() if "full_key" not in line and "object_type" not in line]
    first = " ".join(line.strip() for line in lines[:2]) or type(error).__name__
    return f"{place[1]}: {first}" if place else first


def _no_such_setting(key: str, conf: Path, words: Sequence[str]) -> str:
    """For a key that the composed configuration lacks: what it has instead, or who has it."""
    word = next((word for word in words if word.lstrip("+~").split("=")[0] == key), key)
    if "/" in key:
        groups = [str(folder.relative_to(conf)) for folder in conf.rglob("*") if folder.is_dir()]
        return f"{word}: there is no such group of choices: {nearest(key, groups)}"
    others = [other for other in words if other != word and not re.match(r"[^=]*=[^'\"\[{(]*,", other)]
    cfg = _composed(others, conf, return_hydra_config=key.startswith("hydra."))
    node = {} if cfg is None else OmegaConf.to_container(cfg, resolve=False)
    *place, last = key.split(".")
    for depth, part in enumerate(place):
        if part not in node or not isinstance(node[part], dict):
            last, place = part, place[:depth]
            break
        node = node[part]
    known = [str(name) for name in node if name not in HYDRA]
    if len(place) == 1:  # a setting of a choice: another choice of the group may have it
        [group] = place
        choices = {file.stem: _keys(file) for file in sorted((conf / group).glob("*.yaml"))}

        def having(name: str) -> str:
            return " or ".join([choice for choice, keys in choices.items() if name in keys][:5])

        if having(last):
            return f"{word}: this {group} has no such setting: take {group}={having(last)} with it"
        alike = difflib.get_close_matches(last, [name for keys in choices.values() for name in keys], 1)
        if alike and not difflib.get_close_matches(last, known, 1):
            return f"{word}: there is no such setting: did you mean {group}.{alike[0]}, of {group}={having(alike[0])}?"
    if last not in known and cfg is not None:
        places = sorted(_nested(OmegaConf.to_container(cfg, resolve=False)), key=lambda place: place.count("."))
        names = {place.rpartition(".")[2] for place in places}
        alike = [] if difflib.get_close_matches(last, known, 1) else difflib.get_close_matches(last, names, 1, 0.8)
        called = [place for place in places if place.rpartition(".")[2] in (last, *alike[:1])]
        called = [place for place in called if place.endswith(f".{last}")] or called
        if called:
            return f"{word}: there is no such setting: did you mean {' or '.join(called[:3])}?"
    return f"{word}: there is no such setting: {nearest(last, known, '.'.join(place))}"


def _nested(node: dict, above: str = "") -> Iterator[str]:
    """Places of the settings in groups, as model.hidden."""
    for key, value in node.items():
        if above and key not in HYDRA:
            yield f"{above}{key}"
        if isinstance(value, dict):
            yield from _nested(value, f"{above}{key}.")


def _unread(conf: Path) -> Iterator[str]:
    """What is wrong with each file of choices that is not YAML."""
    for file in sorted(conf.rglob("*.yaml")):
        try:
            yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            yield f"{file}{where}: is not YAML ({str(error).splitlines()[0]}): mend it, or git restore it"


def _keys(file: Path) -> set[str]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return set()
    return set(content) if isinstance(content, dict) else set()


def _composed(words: list[str], conf: Path, **more: bool) -> DictConfig | None:
    GlobalHydra.instance().clear()
    for tried in (words, []):
        try:
            with initialize_config_dir(str(conf), version_base="1.3"):
                return compose("config", overrides=tried, **more)
        except (HydraException, OmegaConfBaseException):
            continue
    return None
