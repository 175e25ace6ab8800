"""Texts out of files, tar archives and Debian packages. Nothing is written outside the folder given."""

import lzma
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from pipeline.corpora.corpus import CorpusError

Choose = Callable[[str], str | None]  # a member's name -> the name under which it is kept, None: left out


def one_file(path: Path, folder: Path) -> list[str]:
    """Copies the one text `path` into `folder`; returns its name."""
    shutil.copyfile(path, folder / path.name)
    return [path.name]


def from_tar(path: Path, folder: Path, choose: Choose) -> list[str]:
    """Unpacks the chosen regular files of a tar archive of any compression; returns the names kept, in archive order.

    Links and devices are left out; names that lead outside `folder` raise CorpusError (tarfile's "data" filter).
    """
    with path.open("rb") as file:
        return from_stream(file, folder, choose, path.name)


def from_deb(path: Path, folder: Path, choose: Choose, inside: str | None = None) -> list[str]:
    """As `from_tar` for a Debian package; `inside` names a tar archive within the package that holds the texts."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as process:
        if inside is None:
            names = from_stream(process.stdout, folder, choose, path.name)
        else:
            with tarfile.open(fileobj=process.stdout, mode="r|") as package:
                names = [
                    name
                    for member in package
                    if member.name == inside
                    for name in from_stream(package.extractfile(member), folder, choose, inside)
                ]
        process.stdout.read()  # to the end, so that dpkg-deb can end well
    if process.returncode:
        raise CorpusError(f"dpkg-deb cannot read {path.name}")
    return names


def from_stream(stream: BinaryIO, folder: Path, choose: Choose, archive: str) -> list[str]:
    """As `from_tar` for an open archive that is read once from front to back; `archive` is its name in messages."""
    names = []
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as tar, tqdm(desc=archive, unit=" files", disable=None) as bar:
            for member in tar:
                name = choose(member.name) if member.isfile() else None
                if name is not None:
                    tar.extract(member.replace(name=name, mode=0o644, deep=False), folder, filter="data")
                    names.append(name)
                    bar.update()
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise CorpusError(f"{archive} cannot be unpacked: {error}") from error
    return names
