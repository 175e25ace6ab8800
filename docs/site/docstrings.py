"""Docstrings of this project as Markdown: settings in two columns become lists, < and [ are as they stand. Used by
mkdocstrings (mkdocs.yml)."""

import re
import textwrap
from typing import Any

import griffe

COLUMNS = re.compile(r"(?P<names>[*\w]+(?:, [*\w]+)*) {2,}(?P<text>\S.*)")


class Markdown(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **more: Any) -> None:
        if obj.docstring:
            obj.docstring.value = "\n\n".join(map(paragraph, as_markdown(obj.docstring.value).split("\n\n")))


def as_markdown(text: str) -> str:
    """With what is neither a tag nor a link escaped, outside code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part[:1] == "`" else part.replace("<", "&lt;").replace("[", "&#91;") for part in parts)


def paragraph(text: str) -> str:
    """A paragraph whose lines are "name  what it is", with further lines indented, as a list; others as they are."""
    lines = textwrap.dedent(text).strip("\n").split("\n")
    if not COLUMNS.match(lines[0]):
        return text
    items: list[str] = []
    for line in lines:
        if match := COLUMNS.match(line):
            items.append(f"- `{match['names']}`: {match['text']}")
        else:
            items.append(f"    {line.strip()}")
    return "\n".join(items)
