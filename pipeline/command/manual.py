"""What can be set: `--help` of every verb, and the tables of docs/settings.md (`python -m pipeline.command.manual`).

Values and ranges are those of pipeline.command.settings; what a setting is for, the files in conf/ say beside it.
"""

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from pipeline.command.refusal import Refusal
from pipeline.command.setting import shown, takes
from pipeline.command.settings import CONF, nearest, settings

# Groups of choices, and what one of each is.
GROUPS = {
    "data": "what is learned: a text, a series, a problem, pictures",
    "encoder": "what turns pictures into features",
    "model": "what predicts a sequence",
    "readout": "from the hidden state to predictions",
    "optimizer": "how parameters are found",
    "initialization": "what they are before",
    "schedule": "how the learning rate changes",
    "trainer": "what batches and steps are like",
    "way": "model, optimizer and initialization in one choice",
    "shape": "model and data in one choice",
    "scale": "how large everything is",
    "study": "a comparison of several runs, trained by -m",
    "probe": "what is measured of a trained model",
}
COLUMNS = 100  # of a terminal, that lines are made for
AFTER = "<!-- made by `python -m pipeline.command.manual`: below this line -->\n"
LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w.]+):(?P<value> *[^#]*?)?(?: +# (?P<comment>.*))?$")
ALONE = re.compile(r"^# (?P<key>[a-z_]+\.[a-z_.]+): (?P<comment>.*)$")  # of what no line of the file sets


class Row(NamedTuple):
    place: str
    value: str
    takes: str
    purpose: str


def manual(task: Callable, asked: Sequence[str], words: list[str], conf: Path) -> str:
    """What `--help` prints.

    words  none: what the verb does, with examples, and the settings that are `asked` for most; overrides: these
           settings of the configuration that they compose, and all of the choices that they name; "all": every choice
           and setting; groups, as "model": what there is to choose
    """
    groups = [word for word in words if word in GROUPS]
    if groups:
        return "\n\n".join(_choices(group, conf) for group in groups)
    overrides = [word for word in words if word != "all"]
    for word in overrides:
        if "=" not in word and not word.startswith("~"):
            raise Refusal(f"--help {word}: there is nothing of that name: {nearest(word, ['all', *GROUPS])}")
    with initialize_config_dir(str(conf), version_base="1.3"):
        whole = compose("config", overrides=overrides, return_hydra_config=True)
        cfg = OmegaConf.masked_copy(whole, [key for key in whole if key != "hydra"])
        chosen, rows = whole.hydra.runtime.choices, {row.place: row for row in rows_of(cfg, conf)}
    about = "\n\n".join(map(_folded, inspect.getdoc(sys.modules[task.__module__]).split("\n\n")))
    head, command = [about, "", "Settings, with the values that they have here:"], f"lab {task.__name__} --help"
    if "all" in words:
        entries = [(f"{group}=", " ".join(names(conf / group))) for group in GROUPS]
        entries += [(f"{place}={row.value}", f"{row.purpose}  [{row.takes}]") for place, row in rows.items()]
        return "\n".join(
            [
                *head,
                *_aligned(entries, None),
                "",
                "Hydra's flags: --hydra-help. Settings of all choices: docs/settings.md",
            ]
        )
    named = tuple(word.lstrip("+~").partition("=")[0] for word in overrides)
    places = [place for place in asked if place in rows]
    places += [place for place in rows if place not in places and f"{place}.".startswith(tuple(f"{n}." for n in named))]
    entries = [(f"{name}={chosen.get(name) or 'null'}", f"{GROUPS[name]}") for name in asked if name in GROUPS]
    entries += [(f"{place}={rows[place].value}", rows[place].purpose) for place in places]
    more = [(f"{command} all", "every choice and every setting, with the values that it takes")]
    if "model" in asked:
        more += [(f"{command} model", "what there is to choose; likewise data, optimizer, study, ...")]
        more += [(f"{command} model=hmm", "the settings of a choice")]
    return "\n".join([*head, *_aligned(entries, COLUMNS), "", "More:", *_aligned(more, COLUMNS)])


def _folded(paragraph: str) -> str:
    """A paragraph of a docstring, as wide as a terminal; examples stay as they are."""
    return paragraph if "\n  " in paragraph else textwrap.fill(" ".join(paragraph.split()), COLUMNS)


def _choices(group: str, conf: Path) -> str:
    """The choices of a group, with what each of them is."""
    lines = []
    for name in names(conf / group):
        text = (conf / group / f"{name}.yaml").read_text(encoding="utf-8")
        question = re.search(r"^  question: ['\"]?(.+?)['\"]?$", text, re.MULTILINE)
        comment = re.match(r"((?:# (?!@).*\n)*)", text)[1].replace("# ", "")
        lines.append((name, question[1] if question else " ".join(comment.split())))
    return "\n".join([f"{group}=NAME: {GROUPS[group]}", *_aligned(lines, COLUMNS)])


def _aligned(entries: list[tuple[str, str]], columns: int | None) -> list[str]:
    """Names, and what they are, in two columns; the second is folded where the terminal ends."""
    width = min(34, max((len(name) for name, _ in entries), default=0)) + 4
    lines = []
    for name, purpose in entries:
        first = f"  {name}".ljust(width)
        folded = textwrap.wrap(purpose, columns - width, break_on_hyphens=False) if columns else [purpose]
        if len(first) > width:
            lines.append(first)
            first = " " * width
        lines += [
            f"{start}{line}".rstrip() for start, line in zip([first, *[" " * width] * len(folded)], folded or [""])
        ]
    return lines


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


@cache
def _of_group(folder: Path, choice: str | None) -> dict[str, str]:
    """The comments of a group's files; of several on one setting that of the choice itself, or of what all share."""
    first = (choice, "default", "laptop", "recurrent", "corpus")
    files = sorted(folder.rglob("*.yaml"), key=lambda file: (*first, file.stem).index(file.stem))
    return {key: text for file in reversed(files) for key, text in comments(file).items()}


@cache
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
        for group in list(GROUPS)[:-2]:
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
