"""Files that are either whole or not there."""

import json
import os
from pathlib import Path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replaces `path` by `content` in one step, on disk before this returns;
    a reader or a crash sees the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(partial, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path: Path, value: object) -> None:
    """`value` as indented JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_lines(path: Path) -> list[dict]:
    """The records of a .jsonl file; none when it is not there. A last line cut short by a crash is left out."""
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in whole]


def append_line(path: Path, record: dict) -> None:
    """One more record at the end of a .jsonl file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
