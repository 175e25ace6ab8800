"""Emoji: the pictures of a font, with the names that Unicode gives them."""

import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.corpora.checksums import verify
from pipeline.corpora.corpus import CorpusError, Original
from pipeline.corpora.listing import Listed, Listing, from_coco, read_pictures
from pipeline.corpora.packages import Apt, Pip, Together
from pipeline.corpora.parts import PARTS, shares_of
from pipeline.corpora.pictures import PictureSet
from pipeline.corpora.tokens import caption_words
from pipeline.corpora.unpack import from_deb, from_zip

DEB = "fonts-noto-color-emoji_2.042-0+deb12u1_all.deb"
WHEEL = "emoji-2.16.0-py3-none-any.whl"
SHA256 = "c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330"
FONT, NAMES = "NotoColorEmoji.ttf", "emoji/unicode_codes/emoji.json"
FULLY_QUALIFIED = 2  # the one spelling of an emoji that Unicode recommends
VARIATION = "\ufe0f"  # asks for colour; fonts have no glyph for it
FEWEST = 3  # training pictures that each word of a held-out name is in


@dataclass
class Emoji(PictureSet):
    """3,788 pictures of Noto Color Emoji and their English names in the package emoji, such as "woman farmer light
    skin tone"; they are transparent, and shown on white.

    Parts: names are held out, in the order of their words' sha256, if each of their words is in FEWEST training
    pictures at least; those that are of the same words stay together. So a person, a role and a skin tone that are
    tested together were trained, each with others.
    """

    def originals(self) -> list[Original]:
        both = Together((Apt("fonts-noto-color-emoji"), Pip("emoji", "2.16.0", SHA256, wheel=True)))
        return [Original("pictures: OFL-1.1; names: Unicode's, as the package emoji, BSD-3-Clause", place, DEB, both)]

    def listed(self, files: list[Path], root: Path) -> Listing:
        listing = read_pictures(root / "captions.json", from_coco)
        hold_out(listing.pictures, shares_of(self.split))
        return listing


def place(path: Path, folder: Path) -> list[str]:
    """The pictures of the font in the package at `path`, as PNG files, and captions.json; the package of the names lies
    beside it. CorpusError: it does not, or the font has none of the pictures."""
    wheel = path.parent / WHEEL
    if not wheel.is_file():
        raise CorpusError(f"{WHEEL}, which has the names, is not beside it")
    verify(wheel, None, SHA256)
    with tempfile.TemporaryDirectory() as scratch:
        from_deb(path, Path(scratch), lambda name: FONT if PurePosixPath(name).name == FONT else None)
        from_zip(wheel, Path(scratch), lambda name: "names.json" if name == NAMES else None)
        names = json.loads(Path(scratch, "names.json").read_text())
        pictures = pictures_of(Path(scratch, FONT), [one for one in names if names[one]["status"] == FULLY_QUALIFIED])
    if not pictures:
        raise CorpusError(f"{FONT} has none of the pictures")
    images, annotations = [], []
    for number, (one, content) in enumerate(pictures.items()):
        name = "-".join(f"{ord(code):x}" for code in one) + ".png"
        (folder / name).write_bytes(content)
        images.append({"id": number, "file_name": name})
        said = names[one]["en"].strip(":").replace("_", " ")
        annotations.append({"id": number, "image_id": number, "caption": said})
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return ["captions.json", *(image["file_name"] for image in images)]


def pictures_of(font: Path, sequences: list[str]) -> dict[str, bytes]:
    """Those of the sequences of characters that a font draws as one picture -> PNG."""
    from fontTools.ttLib import TTFont

    with TTFont(font) as tables:
        glyphs, bitmaps = tables.getBestCmap(), tables["CBDT"].strikeData[0]
        lookups = [
            {
                first: [(ligature.Component, ligature.LigGlyph) for ligature in ligatures]
                for table in lookup.SubTable
                for first, ligatures in table.ligatures.items()
            }
            for lookup in tables["GSUB"].table.LookupList.Lookup
            if lookup.LookupType == 4  # ligatures: several glyphs to one, the first in the list that fits
        ]
        found = {}
        for one in sequences:
            drawn = [glyphs.get(ord(code)) for code in one if code != VARIATION]
            for ligatures in lookups:
                drawn = _joined(drawn, ligatures)
            if len(drawn) == 1 and drawn[0] in bitmaps:
                found[one] = bitmaps[drawn[0]].imageData
        return found


def _joined(glyphs: list, ligatures: dict[str, list[tuple[list[str], str]]]) -> list:
    joined, at = [], 0
    while at < len(glyphs):
        for others, one in ligatures.get(glyphs[at], ()):
            if glyphs[at + 1 : at + 1 + len(others)] == others:
                joined.append(one)
                at += len(others)
                break
        else:
            joined.append(glyphs[at])
        at += 1
    return joined


def hold_out(pictures: list[Listed], shares: list[int]) -> None:
    """Gives each picture its part, by the words of its first sentence."""
    alike = defaultdict(list)
    for one in pictures:
        one.part = PARTS[0]
        alike[" ".join(sorted(set(caption_words(one.sentences[0]))))].append(one)
    left = Counter()
    for words, some in alike.items():
        left.update({word: len(some) for word in words.split()})
    wanted = {part: len(pictures) * share // 100 for part, share in zip(PARTS[1:], shares[1:])}
    for words in sorted(alike, key=lambda words: hashlib.sha256(words.encode()).digest()):
        some = alike[words]
        part = max(wanted, key=wanted.__getitem__)
        if wanted[part] >= len(some) and all(left[word] - len(some) >= FEWEST for word in words.split()):
            wanted[part] -= len(some)
            left.subtract({word: len(some) for word in words.split()})
            for one in some:
                one.part = part
