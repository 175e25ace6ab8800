"""Files that are either whole or not there."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline.command.refusal import Refusal
from pipeline.files.form import misfit

PARTIAL = re.compile(r"\..+\.(\d+)")  # .NAME.PROCESS, until it is whole


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replaces `path` by `content` in one step, on disk before this returns;
    a reader or a crash sees the old file or the new. An error, as of a full disk, leaves the old one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def remove_partials(folder: Path) -> None:
    """Removes what processes that were killed in write_atomically have left in `folder`, where no other machine's
    process may be writing."""
    for path in folder.iterdir() if folder.is_dir() else ():
        process = PARTIAL.fullmatch(path.name)
        if process and path.is_file() and not psutil.pid_exists(int(process[1])):
            path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """`value` as indented JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, mend: str, form: Any = dict) -> dict:
    """The object that write_json wrote to `path`. Raises Refusal, with `mend`, where the file holds anything else, or
    what is not of the type `form`."""
    return _parsed(path.read_bytes(), form, f"{path}", mend)


LINE_MEND = "take that line out, or train the run again with fresh=true"


def read_lines(path: Path, form: Any = dict, mend: str = LINE_MEND) -> list[dict]:
    """The records of a .jsonl file, each of the type `form`; none when it is not there. A last line cut short by a
    crash is left out; Raises Refusal for any other line that is no such record."""
    try:
        *whole, _ = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [_parsed(line, form, f"{path}, line {number:,},", mend) for number, line in enumerate(whole, 1)]


def _parsed(content: bytes, form: Any, where: str, mend: str) -> dict:
    try:
        value = json.loads(content.decode())
        why = misfit(value, form)
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor JSON; lists in lists in lists
        why = str(error).splitlines()[0]
    if why is not None:
        raise Refusal(f"{where} is damaged ({why}): {mend}")
    return value


def append_line(path: Path, record: dict) -> None:
    """One more record at the end of a .jsonl file; an error, as of a full disk, leaves no part of it."""
    line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
    with naming(path), open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[file.write(line) :]
        except BaseException:
            file.truncate(end)
            raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets errors of the file system name `path`: those of writing name no file, and others a temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
