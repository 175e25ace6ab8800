"""Archives made to do harm: whatever is in them, nothing outside the folder changes, and the disk is not filled."""

import gzip
import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.unpack import from_tar

HELD = b"not to be changed"
TYPES = {
    "file": tarfile.REGTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "folder": tarfile.DIRTYPE,
    "contiguous": tarfile.CONTTYPE,
    "sparse": tarfile.GNUTYPE_SPARSE,
}


def archive(path: Path, members: list[tuple[str, str, str]]) -> Path:
    """A tar archive of members: type, name, and where a link leads."""
    with tarfile.open(path, "w") as tar:
        for kind, name, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = TYPES[kind], target
            content = b"evil" if kind in ("file", "contiguous") else b""
            member.size, member.mode = len(content), 0o6777
            tar.addfile(member, io.BytesIO(content))
    return path


def unpacked(path: Path, folder: Path, choose=str) -> str | None:
    """What the archive is refused for, in a line, by the project or by the file system; None where it is taken."""
    try:
        from_tar(path, folder, choose)
    except (CorpusError, OSError) as refusal:
        assert "\n" not in str(refusal)
        return str(refusal)
    return None


@pytest.fixture
def world(tmp_path):
    """A folder to unpack into, beside one that must stay as it is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "held").write_bytes(HELD)
    yield tmp_path
    assert {file.name: file.read_bytes() for file in outside.iterdir()} == {"held": HELD}
    assert (outside / "held").stat().st_mode & 0o7777 == 0o644 and (outside / "held").stat().st_nlink == 1
    for file in (tmp_path / "files").rglob("*"):
        assert file.resolve().is_relative_to((tmp_path / "files").resolve()), f"{file} leads outside"
        assert file.is_dir() or file.is_file() and not file.is_symlink(), f"{file} is no text"
        assert not file.stat().st_mode & 0o7000
    assert {path.name for path in tmp_path.iterdir()} <= {"outside", "files", "a.tar", "a.gz"}


def test_ways_out(world):
    for name in ("../outside/held", "a/../../outside/held", f"{world}/outside/held", "./../outside/new"):
        unpacked(archive(world / "a.tar", [("file", name, "")]), world / "files")
    for kind in ("link", "hard link"):
        for target in ("../outside", "../outside/held", f"{world}/outside", f"{world}/outside/held", ".."):
            for name in ("l", "l/held", "l/outside/held", "l/new"):
                members = [(kind, "l", target), ("file", name, ""), ("file", "l", "")]
                unpacked(archive(world / "a.tar", members), world / "files")


def test_devices_and_pipes_are_not_made(world):
    for kind in ("character device", "block device", "pipe"):
        unpacked(archive(world / "a.tar", [(kind, "d", ""), ("file", "d", "")]), world / "files")


@pytest.mark.hardship
@pytest.mark.parametrize("seed", range(8))
def test_a_hundred_archives_of_anything(world, seed):
    draw = random.Random(seed)
    parts = ["..", ".", "a", "b", "l", "outside", "held", "", "é", "a\nb", "x" * 300, "-rf", "files"]

    def name() -> str:
        path = "/".join(draw.choices(parts, k=draw.randint(1, 4)))
        return draw.choice([path, path, f"/{path}", f"{world}/{path}"]) or "a"

    for _ in range(100):
        members = [(draw.choice(list(TYPES)), name(), name()) for _ in range(draw.randint(1, 5))]
        path = archive(world / "a.tar", members)
        if draw.random() < 0.3:  # and damaged
            content = bytearray(path.read_bytes())
            for _ in range(draw.randint(1, 20)):
                content[draw.randrange(len(content))] = draw.randrange(256)
            path.write_bytes(content)
        unpacked(path, world / "files", draw.choice([str, os.path.basename, lambda name: "one"]))


@pytest.mark.hardship
def test_a_bomb_is_refused_before_it_fills_the_disk(world):
    size = 512 << 20
    member = tarfile.TarInfo("bomb")
    member.size = size
    zeros = bytes(1 << 20)
    with gzip.open(world / "a.gz", "wb") as packed:
        packed.write(member.tobuf())
        for _ in range(size // len(zeros)):
            packed.write(zeros)
        packed.write(bytes(10240))
    assert unpacked(world / "a.gz", world / "files") is not None
    assert sum(file.stat().st_size for file in (world / "files").rglob("*") if file.is_file()) < size // 4
