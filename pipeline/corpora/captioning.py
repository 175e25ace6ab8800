"""From pictures that a set lists to the words of their sentences: each picture is decoded once, to know that it can be,
and stays where it is."""

import hashlib
import json
import os
import sys
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.corpora.checksums import read_list
from pipeline.corpora.corpus import CorpusError, in_a_line
from pipeline.corpora.image import BadPicture, decode
from pipeline.corpora.listing import NO_SENTENCE, SAME_ID, Listed
from pipeline.corpora.parts import PARTS, make_card, shares_of
from pipeline.corpora.pictures import PictureSet
from pipeline.corpora.tokens import UNKNOWN, caption_words
from pipeline.corpora.verified import Sum

LONGEST = 100  # words; longer sentences are left out
NAMED = 3  # names that are printed of each reason; the card has all
NO_WORD, TOO_LONG = "a sentence without a word", f"a sentence of more than {LONGEST} words"
OUTSIDE = "its name leads out of the folder"


def write_pictures(published: PictureSet, paths: list[Path], folder: Path, raw: dict) -> dict:
    """Writes the sentences of all pictures that can be decoded into `folder`: captions.json in COCO's format, their
    words as arrays; returns the card.

    The fingerprint is the sha256 of the pictures' names, contents, parts and words in order. CorpusError: there is no
    picture, more than half of them are left out, or a part has none.
    """
    root = Path(published.pictures)
    listing = published.listed(paths, root)
    skipped, noted, converted = listing.skipped, listing.noted, defaultdict(list)
    if not listing.pictures:
        raise CorpusError(f"{published.folder} has no picture: name a folder with pictures and their list (data.path)")
    every = len(listing.pictures) + len(skipped.get(SAME_ID, ()))
    kept, words, sizes = [], [], []
    for one, found in zip(listing.pictures, _looked_at([root / one.file for one in listing.pictures], root)):
        if isinstance(found, str):
            skipped[found].append(one.file)
            continue
        sentences, theirs = _cut(one, skipped, noted)
        if not sentences:
            skipped[NO_SENTENCE].append(one.file)
            continue
        size, done = found
        for what in done:
            converted[what].append(one.file)
        one.sentences = sentences
        kept.append(one)
        words += theirs
        sizes.append(size)
    _refuse(published, every, len(kept), skipped)
    sums = read_list(root.parent)
    parts = _parts(published, kept, [sums[one.file] for one in kept], noted)
    return _write(published, folder, raw, kept, sizes, words, parts, sums, (skipped, converted, noted))


def _looked_at(paths: list[Path], root: Path):
    """Of each picture its size and what decoding it took, or why it cannot be decoded."""

    def look(path: Path) -> tuple[tuple[int, int], list[str]] | str:
        if not path.absolute().is_relative_to(root.absolute()) or ".." in path.parts:
            return OUTSIDE
        try:
            image, done = decode(path)
        except BadPicture as error:
            return str(error)
        return image.size, done

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without the GIL
        warnings.simplefilter("ignore")  # of metadata, and of pictures that are large and not too large
        yield from tqdm(
            pool.map(look, paths), "looking at pictures", len(paths), unit=" pictures", disable=None, delay=1
        )


def _cut(one: Listed, skipped: dict, noted: dict) -> tuple[list[str], list[list[str]]]:
    """The sentences of a picture that have words, and these."""
    sentences, words = [], []
    for sentence in one.sentences:
        theirs = caption_words(sentence)
        if not 0 < len(theirs) <= LONGEST:
            skipped[TOO_LONG if theirs else NO_WORD].append(one.file)
            continue
        if len(theirs) == 1:
            noted["a sentence of one word"].append(one.file)
        sentences.append(" ".join(sentence.split()))
        words.append([sys.intern(word) for word in theirs])  # millions of a few thousand
    return sentences, words


def _refuse(published: PictureSet, every: int, kept: int, skipped: dict) -> None:
    """Raises CorpusError where more than half of the pictures are left out."""
    if 2 * kept < every:
        reasons = "; ".join(f"{reason}: {len(names):,}, as {in_a_line(names[0])}" for reason, names in skipped.items())
        raise CorpusError(
            f"{published.folder}: {every - kept:,} of {every:,} pictures are left out, more than half ({reasons}): "
            "mend the list or the files and fetch it again"
        )


def _parts(published: PictureSet, kept: list[Listed], sums: list[str], noted: dict) -> np.ndarray:
    """The part of each picture, as a number of PARTS: as the set says, or by the shares of the split in the order of
    their contents' sha256, where those that are the same stay together and none moves as others come. CorpusError: a
    part has none."""
    counted = Counter(sums)
    for one, checksum in zip(kept, sums):
        if counted[checksum] > 1:
            noted["the same picture under several names"].append(one.file)
    if all(one.part for one in kept):
        parts = np.array([PARTS.index(one.part) for one in kept], np.uint8)
        names = PARTS[: parts.max() + 1]
    else:
        ends = [sum(shares_of(published.split)[: k + 1]) for k in range(len(shares_of(published.split)))]
        order, parts, number = sorted(range(len(kept)), key=sums.__getitem__), np.zeros(len(kept), np.uint8), 0
        for place, k in enumerate(order):
            new = place == 0 or sums[k] != sums[order[place - 1]]
            while new and 100 * place >= ends[number] * len(kept):
                number += 1
            parts[k] = number
        names = PARTS[: len(ends)]
    for part in names:
        if not (parts == PARTS.index(part)).any():
            raise CorpusError(
                f"{published.folder} has {len(kept):,} pictures: too few for data.split={published.split}, the {part} "
                "part would have none: take more"
            )
    return parts


def _write(published, folder, raw, kept, sizes, words, parts, sums, oddities) -> dict:
    picture_of_sentence = np.repeat(np.arange(len(kept), dtype=np.uint32), [len(one.sentences) for one in kept])
    in_training = Counter(
        word for some, k in zip(words, picture_of_sentence.tolist()) if parts[k] == 0 for word in some
    )
    order = {word: None for word, _ in in_training.most_common()}  # of equal ones, the first to occur is first
    every = [UNKNOWN, *order, *dict.fromkeys(word for some in words for word in some if word not in order)]
    index = {word: number for number, word in enumerate(every)}
    arrays = {
        "words": np.array([index[word] for some in words for word in some], np.uint32),
        "sentence_ends": np.cumsum([len(some) for some in words], dtype=np.int64),
        "picture_of_sentence": picture_of_sentence,
        "parts": parts,
        "occurrences": np.array([0, *(in_training[word] for word in every[1:])], np.int64),
    }
    names = [part for number, part in enumerate(PARTS) if (parts == number).any()]
    pictures, fingerprint = hashlib.sha256(), hashlib.sha256()
    for one in kept:
        pictures.update(f"{one.file} {sums[one.file]}\n".encode("utf-8", "surrogateescape"))
    fingerprint.update(pictures.digest() + json.dumps(every).encode())
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
        fingerprint.update(array)
    (folder / "words.json").write_text(json.dumps({"words": every}))
    (folder / "captions.json").write_text(json.dumps(_in_coco(published, kept, sizes, parts)))
    files = sorted(path for path in folder.iterdir())
    more = {"synthetic": True} if published.synthetic else {}
    skipped, converted, noted = oddities
    return make_card(
        published.folder,
        published.split,
        {part: int((parts == PARTS.index(part)).sum()) for part in names},
        fingerprint.hexdigest(),
        sentences={part: int((parts[picture_of_sentence] == PARTS.index(part)).sum()) for part in names},
        pictures=pictures.hexdigest(),
        words=len(order),
        skipped=dict(skipped),
        converted=dict(converted),
        noted=dict(noted),
        files={
            path.name: Sum(bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
            for path in files
        },
        raw=raw,
        **more,
    )


def _in_coco(published: PictureSet, kept: list[Listed], sizes: list, parts: np.ndarray) -> dict:
    images, annotations = [], []
    numbered = len({one.id for one in kept}) == len(kept) and all(isinstance(one.id, int) for one in kept)
    for number, (one, (width, height), part) in enumerate(zip(kept, sizes, parts)):
        image = {"id": one.id if numbered else number, "file_name": one.file, "width": width, "height": height}
        images.append(image | {"part": PARTS[part]} | ({} if one.facts is None else {"facts": one.facts}))
        annotations += [
            {"id": len(annotations) + k, "image_id": image["id"], "caption": sentence}
            for k, sentence in enumerate(one.sentences)
        ]
    what = "made by a program" if published.synthetic else "as it was published"
    return {"info": {"description": f"{published.folder}, {what}"}, "images": images, "annotations": annotations}


def described(card: dict) -> str:
    """What a prepared set holds, in a line."""
    total, sentences = sum(card["counts"].values()), sum(card["sentences"].values())
    counts = ", ".join(f"{count:,} {part}" for part, count in card["counts"].items())
    made = "SYNTHETIC pictures" if card.get("synthetic") else "pictures"
    return f"{total:,} {made} ({counts}), {sentences:,} sentences, {card['words']:,} words in the training part"


def odd_pictures(card: dict) -> str:
    """What was left out, what was converted and what is odd, with the first names of each; a line each."""
    lines = []
    for what in ("skipped", "converted", "noted"):
        for reason, names in card[what].items():
            some = ", ".join(map(in_a_line, names[:NAMED])) + ", .." * (len(names) > NAMED)
            lines.append(f"\n  {what}: {reason}: {len(names):,} ({some})")
    return "".join(lines)
