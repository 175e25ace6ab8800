"""Pictures out of packages: emoji and stamps."""

import os
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from pipeline.corpora import stamps
from pipeline.corpora.emoji import DEB, FEWEST, Emoji, _joined, hold_out
from pipeline.corpora.listing import Listed
from pipeline.corpora.preparation import prepare
from pipeline.corpora.sources import fetch
from pipeline.corpora.stamps import Stamps
from tests.conftest import SHARED


def made(kind, tmp_path, name: str):
    place = {"pictures": f"{tmp_path}/raw/{name}/files", "prepared": f"{tmp_path}/prepared/{name}/pictures-80-10-10"}
    return kind(folder=name, split="80-10-10", least=1, dataset="", **place)


def test_the_first_ligature_that_fits_joins_glyphs():
    table = {"a": [(["b", "c"], "abc"), (["b"], "ab")], "c": [(["a"], "ca")]}
    assert _joined(["a", "b", "c", "a", "b", "x", "c", "a"], table) == ["abc", "ab", "x", "ca"]
    assert _joined([None, "a"], table) == [None, "a"]


def test_held_out_names_are_new_and_their_words_are_not():
    draw = random.Random(0)
    names = [f"{who} {what} {how}" for who in "ab" for what in "cdefg" for how in "hijkl"] + [
        "z",
        "a z",
        "y x",
        "c a h",
    ]
    draw.shuffle(names)
    pictures = [Listed(f"{k}.png", [name]) for k, name in enumerate(names)]
    hold_out(pictures, [60, 20, 20])
    parts = {
        part: [set(one.sentences[0].split()) for one in pictures if one.part == part]
        for part in ("train", "validation", "test")
    }
    assert [len(some) for some in parts.values()] == [34, 10, 10]
    counts = Counter(word for words in parts["train"] for word in words)
    for part in ("validation", "test"):
        for words in parts[part]:
            assert words not in parts["train"] and all(counts[word] >= FEWEST for word in words)
    assert not [words for words in parts["validation"] if words in parts["test"]]
    assert {"z"} in parts["train"] and {"y", "x"} in parts["train"]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_stamps_have_the_first_line_of_the_text_beside_them(tmp_path, monkeypatch):
    inside = tmp_path / "package/usr/share/tuxpaint/stamps/animals"
    inside.mkdir(parents=True)
    (tmp_path / "package/DEBIAN").mkdir()
    control = "Package: stamps\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: c\n"
    (tmp_path / "package/DEBIAN/control").write_text(control)
    for k in range(10):
        Image.new("RGBA", (5, 4), (k, 0, 0, 255)).save(inside / f"a.b{k}.png")
        (inside / f"a.b{k}.txt").write_text(f"An ant’s {k}.\nde.utf8=Eine Ameise.\n")
    Image.new("RGB", (5, 4)).save(inside / "a.b0_mirror.png")
    (tmp_path / "mirror").mkdir()
    subprocess.run(["dpkg-deb", "--build", tmp_path / "package", tmp_path / "mirror" / stamps.DEB], check=True)
    monkeypatch.setattr(stamps, "SHA256", None)
    chosen = made(Stamps, tmp_path, "stamps")
    fetch(chosen, tmp_path / "raw", tmp_path / "mirror")
    card = prepare(chosen, tmp_path / "raw")
    assert card["skipped"] == {"no sentence": ["animals/a.b0_mirror.png"]} and card["counts"]["train"] == 8
    pictures = chosen.read()
    assert pictures.names == [f"animals/a.b{k}.png" for k in range(10)]
    assert [pictures.sentences(k) for k in range(10)] == [[f"An ant’s {k}."] for k in range(10)]
    assert pictures.open(7).getpixel((0, 0)) == (7, 0, 0)


def test_the_pictures_of_the_font_are_those_of_the_names(tmp_path):
    mirror = Path(os.environ.get("PIPELINE_MIRROR") or SHARED)
    if not (mirror / DEB).is_file():
        pytest.skip(f"no {DEB} in {mirror}: set PIPELINE_MIRROR to a folder that holds it")
    chosen = made(Emoji, tmp_path, "emoji")
    fetch(chosen, tmp_path / "raw", mirror)
    card = prepare(chosen, tmp_path / "raw")
    assert sum(card["counts"].values()) == 3788 and card["words"] > 1700
    pictures = chosen.read()
    named = dict(zip(pictures.names, map(pictures.sentences, range(len(pictures)))))
    assert named["1f469-1f3fe-200d-1f33e.png"] == ["woman farmer medium-dark skin tone"]
    red = pictures.open(pictures.names.index("1f534.png"))  # a red circle
    assert red.getpixel((0, 0)) == (255, 255, 255) and red.getpixel((64, 64))[0] > 180 > red.getpixel((64, 64))[1] + 60
