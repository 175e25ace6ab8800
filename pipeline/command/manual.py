"""What can be set: `--help` of every verb, and the tables of docs/settings.md (`python -m pipeline.command.manual`).

Values and ranges are those of pipeline.command.settings; what a setting is for, the files in conf/ say beside it.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pipeline.command.setting import shown, takes
from pipeline.command.settings import CONF, settings

GROUPS = (
    "data",
    "encoder",
    "model",
    "readout",
    "optimizer",
    "initialization",
    "schedule",
    "trainer",
    "way",
    "shape",
    "scale",
    "study",
    "probe",
)
AFTER = "<!-- made by `python -m pipeline.command.manual`: below this line -->\n"
LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w.]+):(?P<value> *[^#]*?)?(?: +# (?P<comment>.*))?$")
ALONE = re.compile(r"^# (?P<key>[a-z_]+\.[a-z_.]+): (?P<comment>.*)$")  # of what no line of the file sets


class Row(NamedTuple):
    place: str
    value: str
    takes: str
    purpose: str


def manual(task: Callable, words: list[str], conf: Path) -> str:
    """What `--help` prints: what the verb does, the choices there are, and the settings of the configuration that the
    other words compose."""
    with initialize_config_dir(str(conf), version_base="1.3"):
        rows = list(rows_of(compose("config", overrides=words), conf))
    about = inspect.getdoc(sys.modules[task.__module__]) or ""
    choices = [f"  {group}={' '.join(names(conf / group))}" for group in GROUPS if names(conf / group)]
    width = max(len(f"{row.place}={row.value}") for row in rows if len(row.value) < 30) + 2
    lines = [f"  {f'{row.place}={row.value}'.ljust(width)}{row.purpose or '.'}  [{row.takes}]" for row in rows]
    return "\n".join(
        [
            about,
            "\nChoices of the composition, GROUP=NAME:",
            *choices,
            "\nSettings with their values here, what they are for [and take]; NAME=VALUE sets one:",
            *lines,
            "\nHydra's own flags: --hydra-help. What the settings of other choices are: docs/settings.md",
        ]
    )


def rows_of(cfg: DictConfig, conf: Path) -> Iterator[Row]:
    """The settings of a composed configuration."""
    notes = {"": comments(conf / "config.yaml")}
    for place, value, annotation in settings(cfg):
        group, _, inner = place.partition(".")
        if group not in notes:
            notes[group] = _of_group(conf / group, cfg[group].get("name") if inner else None)
        purpose = notes[""].get(place) or notes[group].get(inner) or _of_part(place, conf)
        yield Row(place, shown(value), takes(annotation), purpose)


def _of_part(place: str, conf: Path) -> str:
    """The comment on a setting of a probe, a readout or an encoder, wherever it is listed."""
    found = (_of_group(conf / group, None) for group in ("probe", "readout", "encoder"))
    *_, owner, name = ["", *place.split(".")]
    return next((notes[key] for notes in found for key in (f"{owner}.{name}", name) if key in notes), "")


def _of_group(folder: Path, choice: str | None) -> dict[str, str]:
    """The comments of a group's files; of several on one setting that of the choice itself, or of what all share."""
    first = (choice, "default", "laptop", "recurrent", "corpus")
    files = sorted(folder.rglob("*.yaml"), key=lambda file: (*first, file.stem).index(file.stem))
    return {key: text for file in reversed(files) for key, text in comments(file).items()}


def comments(file: Path) -> dict[str, str]:
    """What a file of choices says beside its settings: "sample.every" -> the comment."""
    found, within = {}, []
    for line in file.read_text(encoding="utf-8").splitlines():
        if match := ALONE.match(line):
            found[match["key"]] = match["comment"]
        elif match := LINE.match(line):
            depth = len(match["indent"])
            within = [(at, key) for at, key in within if at < depth] + [(depth, match["key"])]
            if match["comment"]:
                found[".".join(key for _, key in within)] = match["comment"].strip()
    return found


def names(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.yaml"))


def reference(conf: Path) -> str:
    """The tables of docs/settings.md: every setting of every choice."""
    parts = []
    with initialize_config_dir(str(conf), version_base="1.3"):
        whole = [row for row in rows_of(compose("config"), conf) if row.place.split(".")[0] not in GROUPS]
        parts += ["### Where things are, and how they are shown\n", *_table([(row, []) for row in whole])]
        for group in GROUPS[:-2]:
            found: dict[tuple[str, str], tuple[Row, list[str]]] = {}
            chosen = names(conf / group)
            for choice in chosen:
                for row in rows_of(compose("config", overrides=[f"{group}={choice}"]), conf):
                    if row.place.startswith(f"{group}.") and not row.place.endswith((".name", ".rule")):
                        found.setdefault((row.place, row.takes), (row, []))[1].append(choice)
            parts += [f"### `{group}`\n", f"{', '.join(f'`{name}`' for name in chosen)}\n"]
            parts += _table([(row, having if len(having) < len(chosen) else []) for row, having in found.values()])
    return "\n".join(parts)


def _table(rows: list[tuple[Row, list[str]]]) -> list[str]:
    """Each with the choices that have it, where not all do."""
    if not rows:
        return []
    lines = ["| setting | takes | for |", "|---|---|---|"]
    for row, having in rows:
        of = f" ({', '.join(having)})" if 0 < len(having) <= 4 else ""
        purpose = row.purpose.replace("|", "\\|")
        lines.append(f"| `{row.place}` | {row.takes} | {purpose}{of} |")
    return [*lines, ""]


if __name__ == "__main__":
    print(reference(CONF))
