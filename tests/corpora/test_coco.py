"""COCO in the layout of its official files: from a site on loopback, a mirror, a copy."""

import hashlib
import http.server
import json
import threading
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from pipeline.corpora import coco
from pipeline.corpora.coco import Coco
from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.preparation import prepare
from pipeline.corpora.sources import fetch
from tests.conftest import SHARED

MINI = SHARED / "coco_mini"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """COCO's files for a year with six training pictures and four others, served on loopback and as a mirror; yields
    the folder of its files and the paths that were asked for."""
    home, asked = tmp_path / "site", []
    copy = home / "copy"
    lists, split = {}, []
    for kind, numbers in (("train", range(6)), ("val", range(6, 10))):
        (copy / f"{kind}2017").mkdir(parents=True)
        images = [{"id": 100 + k, "file_name": f"{k:012}.jpg"} for k in numbers]
        for k in numbers:
            Image.fromarray(np.full((9, 9, 3), 20 * k, np.uint8)).save(copy / f"{kind}2017/{k:012}.jpg")
        said = [{"id": k, "image_id": 100 + k, "caption": f"A picture number {k}."} for k in numbers]
        lists[f"annotations/captions_{kind}2017.json"] = json.dumps({"images": images, "annotations": said})
        split += [(100 + k, "train" if kind == "train" else ("restval", "val", "test")[min(k - 6, 2)]) for k in numbers]
    karpathy = json.dumps({"images": [{"cocoid": number, "split": part} for number, part in split]})
    (copy / "annotations").mkdir()
    for name, content in lists.items():
        (copy / name).write_text(content)
    for folder in ("zips", "annotations", "karpathy"):
        (home / folder).mkdir()
    with zipfile.ZipFile(home / "annotations/annotations_trainval2017.zip", "w") as archive:
        for name, content in lists.items():
            archive.writestr(name, content)
        archive.writestr("annotations/instances_train2017.json", "{}")
    with zipfile.ZipFile(home / "karpathy/caption_datasets.zip", "w") as archive:
        archive.writestr("dataset_coco.json", karpathy)
    for kind in ("train", "val"):
        with zipfile.ZipFile(home / f"zips/{kind}2017.zip", "w") as archive:
            for path in sorted((copy / f"{kind}2017").iterdir()):
                archive.write(path, f"{kind}2017/{path.name}")
        (home / f"{kind}2017").symlink_to(copy / f"{kind}2017")
    for path in (*home.glob("zips/*.zip"), home / "annotations/annotations_trainval2017.zip"):
        monkeypatch.setitem(coco.SUMS, path.name, ("sha1", hashlib.sha1(path.read_bytes()).hexdigest()))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(home))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(coco, "HOME", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(coco, "KARPATHY", f"{coco.HOME}/karpathy/caption_datasets.zip")
        yield home, asked
        server.shutdown()


@pytest.fixture
def made(tmp_path):
    """made(mirror, split=..., ...) fetches and prepares; returns the set and its card."""

    def make(mirror=None, split="karpathy", **settings) -> tuple[Coco, dict]:
        place = {"pictures": f"{tmp_path}/raw/coco/files", "prepared": f"{tmp_path}/prepared/coco/pictures-{split}"}
        chosen = Coco(**{"folder": "coco", "split": split, "least": 1, "dataset": "", "year": 2017} | place | settings)
        fetch(chosen, tmp_path / "raw", mirror)
        return chosen, prepare(chosen, tmp_path / "raw")

    return make


def test_from_the_site_by_karpathys_split_and_by_the_official_one(site, made):
    chosen, card = made()
    pictures = chosen.read()
    assert card["counts"] == {"train": 7, "validation": 1, "test": 2} and card["raw"]["source"]["kind"] == "official"
    assert pictures.ids == list(range(100, 110)) and pictures.names[6] == "val2017/000000000006.jpg"
    assert pictures.part_of("validation").tolist() == [7] and pictures.part_of("test").tolist() == [8, 9]
    assert [pictures.sentences(k) for k in range(10)] == [[f"A picture number {k}."] for k in range(10)]
    assert np.asarray(pictures.open(4)).mean().round() == 80
    assert made(split="official")[1]["counts"] == {"train": 6, "validation": 4}
    assert chosen.words() == "data=coco data.year=2017"


def test_a_cut_fetch_goes_on_with_what_it_lacks(site, made, tmp_path):
    home, asked = site
    whole = (home / "zips/val2017.zip").read_bytes()
    (home / "zips/val2017.zip").write_bytes(whole[:-1] + b"x")
    with pytest.raises(CorpusError, match="val2017.zip has sha1 [0-9a-f]+, expected"):
        made()
    assert {path.name for path in (tmp_path / "raw/.coco.downloads").iterdir()} >= {"train2017.zip"}
    (home / "zips/val2017.zip").write_bytes(whole)
    asked.clear()
    assert made()[1]["counts"]["train"] == 7
    assert asked == ["/zips/val2017.zip"]


def test_the_first_pictures_are_fetched_one_by_one(site, made):
    home, asked = site
    _, card = made(subset=3, split="official")
    assert card["counts"] == {"train": 3, "validation": 3} and not card["skipped"]
    assert sorted(path for path in asked if path.endswith(".jpg")) == [
        f"/{kind}2017/{k:012}.jpg" for kind, first in (("train", 0), ("val", 6)) for k in range(first, first + 3)
    ]
    assert not any("zips" in path for path in asked)


def test_a_mirror_of_archives_a_mirror_of_folders_and_a_copy_give_the_same(site, made, tmp_path, monkeypatch):
    home, asked = site
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for path in (*home.glob("zips/*"), *home.glob("annotations/*"), *home.glob("karpathy/*")):
        (mirror / path.name).symlink_to(path)
    first, card = made(mirror)
    assert not asked and card["raw"]["source"]["kind"] == "mirror"
    one, folder = first.read(), tmp_path / "folders"
    folder.mkdir()
    (folder / "coco").symlink_to(home / "copy")
    (home / "copy/caption_datasets.zip").symlink_to(home / "karpathy/caption_datasets.zip")
    for mirrored, more in ((folder, {}), (None, {"path": str(home / "copy")})):
        first.raw(tmp_path / "raw").rename(tmp_path / f"was{len(more)}")
        chosen, card = made(mirrored, **more)
        assert card["fingerprint"] == made(mirrored, **more)[1]["fingerprint"]
        assert chosen.read().card["pictures"] == one.card["pictures"] and chosen.read().path(2).is_symlink()
    assert not asked
    (mirror / "train2017.zip").unlink()
    (mirror / "train2017.zip").write_bytes(b"no zip")
    with pytest.raises(CorpusError, match="train2017.zip has sha1"):
        monkeypatch.setattr(coco, "HOME", "http://127.0.0.1:9")
        first.raw(tmp_path / "raw").rename(tmp_path / "was")
        made(mirror)


def test_karpathys_split_without_its_file_is_refused(site, made):
    (site[0] / "karpathy/caption_datasets.zip").unlink()
    with pytest.raises(CorpusError, match="fetched without caption_datasets.zip.*data.split=official"):
        made()


def test_a_damaged_list_of_a_copy_is_named_where_it_lies(made, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/captions.json").write_text('{"images": [], "annotations": 1')
    with pytest.raises(CorpusError, match=f"^{tmp_path}/mine/captions.json, line 1, column 32: .*: it is no JSON"):
        made(path=str(tmp_path / "mine"), split="official")


@pytest.mark.skipif(not MINI.exists(), reason=f"no real photographs in {MINI}")
def test_real_photographs_come_from_a_mirror_with_all_that_people_wrote_of_them(made, tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/coco").symlink_to(MINI)
    chosen, card = made(tmp_path / "mirror", "80-10-10", least=5)
    pictures, published = chosen.read(), json.loads((MINI / "captions.json").read_text())
    assert not card["skipped"] and len(pictures) == len(published["images"]) == 388
    assert sum(card["sentences"].values()) == len(published["annotations"]) == 1941
    said = {one["id"]: [] for one in published["images"]}
    for one in published["annotations"]:
        said[one["image_id"]].append(" ".join(one["caption"].split()))
    for k in range(len(pictures)):
        assert sorted(pictures.sentences(k)) == sorted(said[pictures.ids[k]])
    image, listed = pictures.open(7), pictures.listed["images"][7]
    assert image.mode == "RGB" and image.size == (listed["width"], listed["height"])
    assert np.asarray(image).std() > 10
