"""Which pictures there are, and what is said of them: lists in COCO's format, by name, and in columns."""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.corpora.corpus import CorpusError, in_a_line

SUFFIXES = frozenset(".jpg .jpeg .jpe .png .gif .bmp .webp .tif .tiff .ppm .pgm".split())
NO_SENTENCE, NO_PICTURE = "no sentence", "a sentence of no picture in the list"
SAME_ID, TWICE = "its id is another picture's", "the same sentence under the same id"


@dataclass
class Listed:
    """A picture of a list.

    file       below the fetched files
    part       "train", "validation" or "test"; None: the split decides
    facts      what the program that made it knows of it
    """

    file: str
    sentences: list[str]
    id: int | None = None
    part: str | None = None
    facts: dict | None = None


@dataclass
class Listing:
    """Pictures with their sentences; what was left out of them and what was odd, by reason -> names."""

    pictures: list[Listed]
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    noted: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def read_pictures(path: Path, form: Callable[[object], Listing]) -> Listing:
    """A JSON file as `form` reads it. CorpusError: it cannot be read, with the place, or is no list of pictures."""
    kind = "list of pictures"
    mend = "mend the file and fetch it again"
    try:
        return form(json.loads(path.read_bytes().decode("utf-8-sig")))
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise CorpusError(f"{in_a_line(path)}, {at}: {error.msg}: it is no JSON: {mend}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{in_a_line(path)}, byte {error.start:,}: it is not UTF-8: {mend}") from error
    except RecursionError as error:
        raise CorpusError(f"{in_a_line(path)}: lists in lists without end: it is no {kind}: {mend}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        lacks = f"an entry lacks {error}" if isinstance(error, KeyError) else str(error)
        raise CorpusError(f"{in_a_line(path)}: {lacks}: it is no {kind}: {mend}") from error


def from_coco(content: dict, place: Callable[[dict], str] = lambda image: image["file_name"]) -> Listing:
    """COCO's format: {"images": [{"id", "file_name", ..}], "annotations": [{"image_id", "id", "caption"}]}.

    place  an entry of images -> its file below the fetched files
    Of pictures with one id the first is kept, and of sentences that are the same under the same id.
    """
    listing, found = Listing([]), {}
    for image in content["images"]:
        one = Listed(place(image), [], image["id"], image.get("part"), image.get("facts"))
        if one.id not in found:
            found[one.id] = one
            listing.pictures.append(one)
        elif found[one.id].file != one.file:
            listing.skipped[SAME_ID].append(one.file)
        else:
            listing.noted["listed twice"].append(one.file)
    seen = set()
    for annotation in content["annotations"]:
        one, caption = found.get(annotation["image_id"]), annotation["caption"]
        if not isinstance(caption, str):
            raise ValueError(f"the caption of annotation {annotation.get('id')} is no text")
        same = (annotation.get("id"), annotation["image_id"], caption)
        if one is None:
            listing.skipped[NO_PICTURE].append(f"annotation {annotation.get('id')} of {annotation['image_id']}")
        elif same[0] is not None and same in seen:
            listing.skipped[TWICE].append(one.file)
        else:
            seen.add(same)
            one.sentences.append(caption)
    return listing


def from_names(content: dict, files: Collection[str]) -> Listing:
    """{name: sentence or [sentences]}; `files` are what there is, by name."""
    rows = [
        (name, sentence) for name, some in content.items() for sentence in ([some] if isinstance(some, str) else some)
    ]
    if not all(isinstance(sentence, str) for _, sentence in rows):
        raise ValueError("a sentence is no text")
    empty = [(name, None) for name, some in content.items() if not some]
    return from_rows(rows + empty, files)


def from_csv(path: Path, files: Collection[str]) -> Listing:
    """Lines of a name, a comma and a sentence, with or without a line of headings; quotes as in CSV. CorpusError: it
    cannot be read, with the place."""
    mend = "mend the file and fetch it again"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows, reader = [], csv.reader(file, strict=True)
            for row in reader:
                if len(row) == 1:
                    raise CorpusError(
                        f"{in_a_line(path)}, line {reader.line_num}: it has a name and no sentence: {mend}"
                    )
                if row:
                    rows.append((row[0].strip(), ",".join(row[1:])))
    except csv.Error as error:
        raise CorpusError(f"{in_a_line(path)}, line {reader.line_num}: {error}: {mend}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{in_a_line(path)}, byte {error.start:,}: it is not UTF-8: {mend}") from error
    headed = rows and rows[0][0] not in files and PurePosixPath(rows[0][0]).suffix.lower() not in SUFFIXES
    return from_rows(rows[1:] if headed else rows, files)


def from_rows(rows: Iterable[tuple[str, str | None]], files: Collection[str]) -> Listing:
    """Pairs of a name and a sentence, None for none; `files` are what there is, those that no pair names are
    captionless."""
    found: dict[str, Listed] = {}
    for name, sentence in rows:
        one = found.setdefault(name, Listed(name, []))
        one.sentences += [sentence] * (sentence is not None)
    for name in files:
        found.setdefault(name, Listed(name, []))
    return Listing([found[name] for name in found])
