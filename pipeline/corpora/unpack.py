"""Files out of tar and zip archives and Debian packages. Nothing is written outside the folder given."""

import bz2
import gzip
import io
import lzma
import posixpath
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from pipeline.corpora.corpus import CorpusError, in_a_line

Choose = Callable[[str], str | None]  # a member's name -> the name under which it is kept, None: left out

# What no archive of texts exceeds; one that is made to fill a disk does. Linux 6.1 has 1.4 GB in 84,000 members.
UNPACKED = 32 << 30  # bytes
RATIO, FROM = 100, 64 << 20  # bytes unpacked for one packed, asked once so many are unpacked
MEMBERS = 1_000_000
PACKINGS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def one_file(path: Path, folder: Path) -> list[str]:
    """Copies the one text `path` into `folder`; returns its name."""
    shutil.copyfile(path, folder / path.name)
    return [path.name]


def from_tar(path: Path, folder: Path, choose: Choose) -> list[str]:
    """Unpacks the chosen regular files of a tar archive, of gzip, bzip2, xz or no compression; returns the names kept,
    in archive order.

    Symbolic links to what is in the archive are left out. Raises CorpusError for an archive that is damaged or cut, or
    exceeds UNPACKED, RATIO or MEMBERS, or has a name that leads outside; or where two chosen files have one name, or a
    chosen one is a device, a hard link, or a symbolic link that leads outside.
    """
    with path.open("rb") as file:
        return from_stream(file, folder, choose, path.name, path.stat().st_size)


def from_zip(path: Path, folder: Path, choose: Choose) -> list[str]:
    """As `from_tar` for a zip archive, such as a wheel; a symbolic link is kept as the path that it holds."""
    names = {}
    with _one_line(path.name), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _allow(path.stat().st_size, sum(member.file_size for member in members), len(members))
        for member in tqdm(members, path.name, unit=" files", disable=None, delay=1):
            name = choose(member.filename)
            _check_inside(member.filename, name)
            if name is None or member.is_dir():
                continue
            name = posixpath.normpath(name)
            if name in names:
                raise zipfile.BadZipFile(f"{in_a_line(name)} is in it twice")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
            names[name] = None
    return list(names)


def from_deb(path: Path, folder: Path, choose: Choose, inside: str | None = None) -> list[str]:
    """As `from_tar` for a Debian package; `inside` names a tar archive within the package that holds the texts."""
    packed, names = path.stat().st_size, []
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as process:
        if inside is None:
            names = from_stream(process.stdout, folder, choose, path.name, packed)
        else:
            with _one_line(path.name), tarfile.open(fileobj=process.stdout, mode="r|") as package:
                for member in package:
                    if member.name == inside and member.isfile():
                        names = from_stream(package.extractfile(member), folder, choose, inside, packed)
        process.stdout.read()  # to the end, so that dpkg-deb can end well
    if process.returncode:
        raise CorpusError(f"dpkg-deb cannot read {path.name}")
    return names


def from_stream(stream: BinaryIO, folder: Path, choose: Choose, archive: str, packed: int) -> list[str]:
    """As `from_tar` for an open archive of so many bytes that is read once from front to back; `archive` is its name in
    messages."""
    names, members, total = {}, 0, 0
    with _one_line(archive):
        unpacked = Unpacked(stream, packed)
        with tarfile.open(fileobj=unpacked, mode="r|") as tar, tqdm(desc=archive, unit=" files", disable=None) as bar:
            for member in tar:
                members, total = members + 1, total + member.size
                _allow(packed, total, members)  # before it is written
                name = _kept_as(member, choose)
                if name is not None:
                    if name in names:
                        raise tarfile.ReadError(f"{in_a_line(name)} is in it twice")
                    tar.extract(member.replace(name=name, mode=0o644, deep=False), folder, filter="data")
                    names[name] = None
                    bar.update()
            unpacked.check_end(tar.offset)
    return list(names)


@contextmanager
def _one_line(archive: str) -> Iterator[None]:
    """What is wrong with an archive, as a CorpusError. What the file system refuses stays an OSError."""
    try:
        yield
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        lzma.LZMAError,
        zlib.error,
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise CorpusError(f"{in_a_line(archive)} cannot be unpacked: {error}") from error


def _kept_as(member: tarfile.TarInfo, choose: Choose) -> str | None:
    """The name under which a member is kept, None for one that is left out. TarError for one that no archive of texts
    has."""
    name = choose(member.name)
    _check_inside(member.name, name)
    if name is None or member.isdir():
        return None
    if member.issym():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
        if target.startswith("/") or target.split("/")[0] == "..":
            raise tarfile.ReadError(f"the link {in_a_line(member.name)} leads outside, to {in_a_line(member.linkname)}")
        return None
    if not member.isfile():
        raise tarfile.ReadError(
            f"{in_a_line(member.name)} is a {'hard link' if member.islnk() else 'device or a pipe'}"
        )
    return posixpath.normpath(name)


def _check_inside(*names: str | None) -> None:
    """Raises TarError for a member's name that leads out of the folder."""
    for one in names:
        if one is not None and (one.startswith("/") or ".." in one.split("/")):
            raise tarfile.ReadError(f"{in_a_line(one)} leads outside")


def _allow(packed: int, size: int, members: int = 0) -> None:
    """Raises TarError where `packed` bytes that unpack to `size`, or to so many members, are no archive of texts."""
    if size > UNPACKED or size > FROM and size > RATIO * packed:
        raise tarfile.ReadError(f"its {packed:,} bytes unpack to {size:,} or more: it is no archive of texts")
    if members > MEMBERS:
        raise tarfile.ReadError(f"more than {MEMBERS:,} members: it is no archive of texts")


class Unpacked(io.RawIOBase):
    """The bytes of an archive without its compression, read once from front to back and held against UNPACKED and
    RATIO."""

    def __init__(self, stream: BinaryIO, packed: int):
        buffered = stream if hasattr(stream, "peek") else io.BufferedReader(stream)
        head = buffered.peek(6)[:6]
        packing = next((one for magic, one in PACKINGS.items() if head.startswith(magic)), None)
        self.stream = packing(buffered, "rb") if packing else buffered
        self.packed = packed
        self.count = 0  # bytes that were read
        self.end = 0  # behind the last of them that is not zero

    def readable(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        filled = len(data.rstrip(b"\0"))
        self.end = self.count + filled if filled else self.end
        self.count += len(data)
        _allow(self.packed, self.count)
        return data

    def check_end(self, offset: int) -> None:
        """Reads the rest, which has the compression compare its checksum. Raises TarError unless the members end at
        byte `offset` and zeros alone follow: tarfile takes a damaged header, or a cut between two members, for the end.
        """
        while self.read(1 << 16):
            pass
        if self.count < offset + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data")
        if self.end > offset:
            raise tarfile.ReadError(f"damaged at byte {offset:,}")
