"""Which pictures there are, and what is said of them: lists in COCO's format, by name, and in columns."""

import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.corpora.corpus import Unreadable, in_a_line

SUFFIXES = frozenset(".jpg .jpeg .jpe .png .gif .bmp .webp .tif .tiff .ppm .pgm".split())
NO_SENTENCE, NO_PICTURE, SAME_ID = "no sentence", "a sentence of no picture in the list", "its id is another picture's"
LISTED_TWICE, SAID_TWICE = "listed twice", "a sentence twice under one id, kept once"
MEND = "mend the file and fetch it again"


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

    def with_files(self, files: Iterable[str]) -> "Listing":
        """The same and those of the files that it does not have, without sentences."""
        listed = {one.file for one in self.pictures}
        self.pictures += [Listed(name, []) for name in sorted(files) if name not in listed]
        return self


class Finder:
    """Which file a list means by a name: the one below the folder, else the only one in a folder within it."""

    def __init__(self, files: Iterable[str]):
        self.files = set(files)
        self.by_last = defaultdict(list)
        for name in self.files:
            self.by_last[PurePosixPath(name).name].append(name)

    def __call__(self, name: str) -> str:
        """The file; the name itself where there is none or there are several."""
        plain = os.path.normpath(name)
        if plain in self.files:
            return plain
        deeper = [one for one in self.by_last.get(PurePosixPath(plain).name, ()) if one.endswith(f"/{plain}")]
        return deeper[0] if len(deeper) == 1 else plain


def read_pictures(path: Path, form: Callable[[object], Listing]) -> Listing:
    """A JSON file as `form` reads it. Unreadable: it cannot be read, with the place, or is no list of pictures."""
    kind = "list of pictures"
    try:
        return form(json.loads(path.read_bytes().decode("utf-8-sig")))
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise Unreadable(path, f", {at}: {error.msg}: it is no JSON: {MEND}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(path, f", byte {error.start:,}: it is not UTF-8: {MEND}") from error
    except RecursionError as error:
        raise Unreadable(path, f": lists in lists without end: it is no {kind}: {MEND}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        lacks = f"an entry lacks {error}" if isinstance(error, KeyError) else str(error)
        raise Unreadable(path, f": {lacks}: it is no {kind}: {MEND}") from error


def from_coco(content: dict, place: Callable[[dict], str] = lambda image: image["file_name"]) -> Listing:
    """COCO's format: {"images": [{"id", "file_name", ..}], "annotations": [{"image_id", "id", "caption"}]}.

    place  an entry of images -> its file below the fetched files
    Of pictures with one id the first is kept, and of sentences that are the same under the same id. ValueError: an
    entry is not what it is to be, with its place.
    """
    listing, found = Listing([]), {}
    for number, image in enumerate(content["images"]):
        with _entry("images", number):
            if not isinstance(image["file_name"], str) or not isinstance(image["id"], int | str):
                raise ValueError("its file_name is no text, or its id no number")
            one = Listed(place(image), [], image["id"], image.get("part"), image.get("facts"))
        if one.id not in found:
            found[one.id] = one
            listing.pictures.append(one)
        elif found[one.id].file != one.file:
            listing.skipped[SAME_ID].append(one.file)
        else:
            listing.noted[LISTED_TWICE].append(one.file)
    seen = set()
    for number, annotation in enumerate(content["annotations"]):
        with _entry("annotations", number):
            picture, caption, own = annotation["image_id"], annotation["caption"], annotation.get("id")
            one, same = found.get(picture), (own, picture, caption)
            if not isinstance(caption, str):
                raise ValueError("its caption is no text")
            if one is None:
                listing.skipped[NO_PICTURE].append(f"annotation {own} of picture {picture}")
            elif own is not None and same in seen:
                listing.noted[SAID_TWICE].append(one.file)
            else:
                seen.add(same)
                one.sentences.append(caption)
    return listing


@contextmanager
def _entry(of: str, number: int) -> Iterator[None]:
    """What is wrong with one entry of a list, with its place."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{of}[{number}] has no {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{of}[{number}]: {error}") from error


def from_names(content: dict, find: Finder) -> Listing:
    """{name: sentence or [sentences]}; `find` knows what files there are."""
    rows = []
    for name, some in content.items():
        sentences = [some] if isinstance(some, str) else some
        if not isinstance(sentences, list) or not all(isinstance(one, str) for one in sentences):
            raise ValueError(f"{in_a_line(name)}: its sentences are no list of texts")
        rows += [(name, sentence) for sentence in sentences or [None]]
    return from_rows(rows, find)


def from_csv(path: Path, find: Finder) -> Listing:
    """Lines of a name, a comma and a sentence, with or without a line of headings; quotes as in CSV. Unreadable: it
    cannot be read, with the place."""
    rows, columns, line = [], [], 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in (reader := csv.reader(file, strict=True)):
                line = reader.line_num
                if len(row) == 1:
                    raise Unreadable(path, f", line {line}: it has no comma and no sentence: {MEND}")
                if row:
                    columns = columns or row
                    rows.append((row[0].strip(), ",".join(row[1:])))
    except csv.Error as error:
        raise Unreadable(path, f", after line {line}: {error}: {MEND}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(path, f", after line {line}: it is not UTF-8: {MEND}") from error
    headed = rows and find(rows[0][0]) not in find.files and PurePosixPath(rows[0][0]).suffix.lower() not in SUFFIXES
    if headed and len(columns) > 2:  # commas of a sentence need no quotes, so that the others would be read into it
        raise Unreadable(
            path,
            f", line 1: it names {len(columns)} columns ({in_a_line(', '.join(columns))}): keep two, "
            "the picture's name and the sentence, and fetch it again",
        )
    return from_rows(rows[1:] if headed else rows, find)


def from_rows(rows: Iterable[tuple[str, str | None]], find: Finder) -> Listing:
    """Pairs of a name and a sentence, None for none; files that no pair names have none either."""
    found: dict[str, Listed] = {}
    for name, sentence in rows:
        file = find(name)
        found.setdefault(file, Listed(file, [])).sentences.extend([] if sentence is None else [sentence])
    return Listing(list(found.values())).with_files(find.files)
