"""A folder of pictures as people have them: each that is odd is converted, skipped and named, or refused."""

import contextlib
import csv
import io
import json
import random
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.command.refusal import Refusal
from pipeline.corpora.captions import OwnPictures
from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.image import BadPicture, decode
from pipeline.corpora.preparation import prepare
from pipeline.corpora.sources import fetch

RED = (200, 30, 40)


@pytest.fixture
def own(tmp_path):
    """own(list) writes the list of sentences beside tmp_path/mine's pictures, and prepares both."""

    def make(content, name="captions.json", **settings):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text(content if isinstance(content, str) else json.dumps(content))
        place = {"pictures": f"{tmp_path}/raw/mine/files", "prepared": f"{tmp_path}/prepared/mine/pictures-50-25-25"}
        usual = {"folder": "mine", "split": "50-25-25", "least": 1, "dataset": "", "path": str(tmp_path / "mine")}
        chosen = OwnPictures(**usual | place | settings)
        fetch(chosen, tmp_path / "raw", None)
        return chosen, prepare(chosen, tmp_path / "raw")

    return make


def save(path: Path, image: Image.Image | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if image is None:  # one of its own, so that no two are the same
        pixels = np.full((8, 12, 3), RED, np.uint8)
        pixels[0, 0, 2] = zlib.crc32(path.name.encode()) % 256
        image = Image.fromarray(pixels)
    image.save(path, **options)
    return path


def test_what_is_odd_is_converted_to_what_it_shows(tmp_path, own):
    mine = tmp_path / "mine"
    plain = Image.new("RGB", (12, 8), RED)
    grey = np.tile(np.arange(12, dtype=np.uint16) * 21 + 7, (8, 1))
    save(mine / "cmyk.jpg", plain.convert("CMYK"), quality=95)
    save(mine / "grey.png", Image.fromarray(grey.astype(np.uint8)))
    save(mine / "deep.png", Image.fromarray((grey * 257).astype(np.uint16)))
    save(mine / "deep.tif", Image.fromarray((grey * 257).astype(np.uint16)))
    save(mine / "palette.gif", plain.quantize(4))
    save(mine / "sub/moving.gif", plain, save_all=True, append_images=[Image.new("RGB", (12, 8), (0, 255, 0))])
    seen = Image.new("RGBA", (12, 8), (*RED, 0))
    seen.paste((*RED, 255), (0, 0, 6, 8))
    save(mine / "clear.png", seen)
    turned = Image.new("RGB", (12, 8), RED)
    turned.paste((0, 0, 255), (0, 0, 12, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise: what is above comes to the right
    save(mine / "turned.png", turned, exif=exif)
    chosen, card = own({path.name: ["a picture"] for path in mine.rglob("*.*")})
    pictures = chosen.read()
    assert not card["skipped"] and len(pictures) == 8 and sum(card["counts"].values()) == 8
    shown = {Path(name).name: np.asarray(pictures.open(k)).astype(int) for k, name in enumerate(pictures.names)}
    assert all(one.dtype == int and one.shape[-1] == 3 for one in shown.values())
    for name in ("grey.png", "deep.png", "deep.tif"):
        assert np.abs(shown[name] - grey[..., None]).max() <= 0, name
    for name in ("cmyk.jpg", "palette.gif", "moving.gif"):
        assert np.abs(shown[name] - RED).max() <= 12, name
    assert (shown["clear.png"][:, :6] == RED).all() and (shown["clear.png"][:, 6:] == 255).all()
    assert shown["turned.png"].shape == (12, 8, 3) and (shown["turned.png"][:, 4:] == (0, 0, 255)).all()
    sizes = {Path(one["file_name"]).name: (one["width"], one["height"]) for one in pictures.listed["images"]}
    assert sizes["turned.png"] == (8, 12)
    found = {what: {Path(name).name for name in names} for what, names in card["converted"].items()}
    assert found == {
        "CMYK": {"cmyk.jpg"},
        "greyscale": {"grey.png", "deep.png", "deep.tif"},
        "16 bits a channel": {"deep.png", "deep.tif"},
        "palette": {"palette.gif", "moving.gif"},
        "animated, its first frame": {"moving.gif"},
        "transparent, laid on white": {"clear.png"},
        "turned as its EXIF says": {"turned.png"},
    }


def test_each_rotation_of_exif_is_applied_and_a_damaged_one_is_passed_over(tmp_path):
    pixels = Image.fromarray(np.arange(5 * 3 * 3, dtype=np.uint8).reshape(5, 3, 3) * 5)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save(tmp_path / "a.png", pixels, exif=exif)
        found, done = decode(path)
        with Image.open(path) as image:
            assert (np.asarray(found) == np.asarray(ImageOps.exif_transpose(image))).all()
        assert done == ["turned as its EXIF says"] * (orientation > 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, done = decode(save(tmp_path / "a.png", pixels, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"))
    assert (np.asarray(found) == np.asarray(pixels)).all() and not done


def test_noise_in_a_file_is_no_more_than_a_bad_picture(tmp_path):
    draw = random.Random(0)
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8))
    for ending in ("jpg", "png", "gif", "bmp", "tif", "webp"):
        whole = save(tmp_path / f"a.{ending}", pixels).read_bytes()
        for _ in range(30):
            damaged = bytearray(whole)
            for _ in range(draw.randrange(1, 6)):
                damaged[draw.randrange(len(whole))] = draw.randrange(256)
            (tmp_path / "b").write_bytes(damaged)
            with warnings.catch_warnings(), contextlib.suppress(BadPicture):
                warnings.simplefilter("ignore")
                assert decode(tmp_path / "b")[0].mode == "RGB"


def test_what_cannot_be_shown_is_skipped_and_named(tmp_path, own, capsys):
    mine = tmp_path / "mine"
    good = [save(mine / f"good{k}.png").name for k in range(10)]
    (mine / "empty.jpg").touch()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for name in ("cut.jpg", "cut.png", "cut.gif"):
        whole = save(mine / name, Image.fromarray(noise)).read_bytes()
        (mine / name).write_bytes(whole[: len(whole) * 3 // 4])
    whole = bytearray(save(mine / "flipped.png", Image.fromarray(noise)).read_bytes())
    whole[len(whole) // 2] ^= 1
    (mine / "flipped.png").write_bytes(whole)
    (mine / "text.png").write_text("no picture")
    save(mine / "alone.png")
    save(tmp_path / "secret.png")
    bad = ["empty.jpg", "cut.jpg", "cut.png", "cut.gif", "flipped.png", "text.png", "gone.png"]
    images = [{"id": k, "file_name": name} for k, name in enumerate([*good, "alone.png", *bad, "../secret.png"])]
    images.append({"id": 0, "file_name": "cut.jpg"})
    images.append({"id": 1, "file_name": good[1]})
    captions = [(image["id"], f"picture {image['id']}") for image in images[:-2] if image["file_name"] != "alone.png"]
    captions += [(0, "Word."), (0, "word " * 500), (0, "!?"), (999, "of none"), (2, "said twice"), (2, "said twice")]
    annotations = [{"id": k, "image_id": image, "caption": caption} for k, (image, caption) in enumerate(captions)]
    annotations[-1]["id"] -= 1
    chosen, card = own({"images": images, "annotations": annotations})
    assert card["skipped"] == {
        "its id is another picture's": ["cut.jpg"],
        "a sentence of no picture in the list": [f"annotation {len(annotations) - 3} of picture 999"],
        "empty file": ["empty.jpg"],
        "corrupt, cut or no picture": ["cut.jpg", "cut.png", "cut.gif", "flipped.png", "text.png"],
        "missing": ["gone.png"],
        "its name leads out of the folder": ["../secret.png"],
        "no sentence": ["alone.png"],
        "a sentence of more than 100 words": [good[0]],
        "a sentence without a word": [good[0]],
    }
    assert card["noted"] == {
        "listed twice": [good[1]],
        "a sentence twice under one id, kept once": [good[2]],
        "a sentence of one word": [good[0]],
    }
    pictures = chosen.read()
    assert pictures.names == good and pictures.ids == list(range(10))
    assert pictures.sentences(0) == ["picture 0", "Word."] and pictures.sentences(2) == ["picture 2", "said twice"]
    assert "skipped: missing: 1 (gone.png)" in capsys.readouterr().out
    pictures.path(3).unlink()
    with pytest.raises(Refusal, match="good3.png: missing: run `python -m pipeline.fetch data=captions"):
        pictures.open(3)


def test_more_than_half_skipped_is_refused_and_half_is_not(tmp_path, own):
    for k in range(4):
        save(tmp_path / f"mine/{k}.png")
    with pytest.raises(CorpusError, match=r"5 of 9 pictures are left out, more than half \(missing: 5, as 4.png\)"):
        own({f"{k}.png": "it" for k in range(9)})
    _, card = own({f"{k}.png": "it" for k in range(8)})
    assert card["counts"] == {"train": 2, "validation": 1, "test": 1}


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("captions.json", '{"a.png": ["x"],\n"b.png" 1}', "captions.json, line 2, column 9: Expecting ':' delimiter"),
        ("captions.json", '[["a.png", "x"]]', r"neither in COCO's format nor \{name"),
        ("captions.json", '{"a.png": [1]}', "a.png: its sentences are no list of texts"),
        ("captions.json", '{"images": [{"id": 1}], "annotations": []}', r"images\[0\] has no 'file_name'"),
        ("captions.json", '{"images": [], "annotations": [{"image_id": 1, "caption": 2}]}', r"tations\[0\]: its cap"),
        ("captions.json", "{}", "mine has no picture"),
        (
            "captions.json",
            '{"images": [{"id": 1, "file_name": 3}], "annotations": []}',
            r"ages\[0\]: its file_name is no te",
        ),
        (
            "captions.csv",
            "image,number,comment\na.png,0,one\n",
            r"line 1: it names 3 columns \(image, number, comment\)",
        ),
        ("captions.csv", "a.png,one\nb.png\n", "line 2: it has no comma and no sentence"),
        ("captions.csv", 'a.png,"one\nb.png,two\n', "after line .: unexpected end of data"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_with_its_place(tmp_path, own, name, content, reason):
    with pytest.raises(CorpusError, match=reason) as refusal:
        own(content, name)
    assert str(refusal.value).startswith((f"{tmp_path}/mine/{name}", "mine has no picture"))


def test_the_users_list_is_named_wherever_it_lies(tmp_path, own):
    listed = tmp_path / "of mine.CSV"
    listed.write_text("a.png,one\nb.png\n")
    with pytest.raises(CorpusError, match=f"^{listed}, line 2: it has no comma"):
        own("{}", captions=str(listed))


def test_csv_with_and_without_headings_quotes_and_commas(tmp_path, own):
    for k in range(4):
        save(tmp_path / f"mine/in/{k}.png")
    written = io.StringIO()
    csv.writer(written).writerows([("image", "caption"), ("in/0.png", 'a "b", c'), ("1.png", "d"), ("1.png", "e\nf")])
    chosen, card = own(written.getvalue() + "2.png,g, h\n3.png,i\n", "captions.csv")
    pictures = chosen.read()
    assert [pictures.sentences(k) for k in range(4)] == [['a "b", c'], ["d", "e f"], ["g, h"], ["i"]]
    assert pictures.names == [f"in/{k}.png" for k in range(4)] and not card["skipped"]


def test_the_same_picture_is_in_one_part(tmp_path, own):
    for k in range(20):
        save(tmp_path / f"mine/{k}.png", Image.new("RGB", (4, 4), (k // 2, 0, 0)))
    chosen, card = own({f"{k}.png": f"word{k}" for k in range(20)})
    parts = {name: one["part"] for name, one in zip(chosen.read().names, chosen.read().listed["images"])}
    assert all(parts[f"{k}.png"] == parts[f"{k + 1}.png"] for k in range(0, 20, 2))
    assert card["counts"] == {"train": 10, "validation": 6, "test": 4}  # not in the middle of a pair, at 15
    assert len(card["noted"]["the same picture under several names"]) == 20
