"""From what was fetched to arrays. Texts become symbol indices, in two passes of bounded memory.

The first pass counts symbols and notes where each first occurs; that gives the parts' borders and the vocabulary of the
training part. The second encodes and writes.
"""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pipeline.corpora.arrays import Arrays, write_arrays
from pipeline.corpora.captioning import described, odd_pictures, write_pictures
from pipeline.corpora.checksums import read_texts
from pipeline.corpora.corpus import Corpus, CorpusError, Published, Unreadable
from pipeline.corpora.parts import make_card
from pipeline.corpora.pictures import PictureSet
from pipeline.corpora.reading import progress, symbols_of
from pipeline.corpora.sources import outdated, read_card
from pipeline.corpora.verified import Sum
from pipeline.corpora.vocabulary import Vocabulary, code_points
from pipeline.corpora.wording import write_words
from pipeline.files.landing import landing, lock
from pipeline.files.whole import read_json

MANY = 0.01  # of a part's symbols: so many unknown ones are worth a word


def prepare(corpus: Published, raw: Path) -> dict:
    """Makes the directory corpus.directory from raw/<name>; returns its card.

    CorpusError: nothing, something else, another version or what is damaged now was fetched; or as write_symbols and
    write_arrays.
    """
    source, directory = corpus.raw(raw), corpus.directory
    root = directory.parent.parent  # holds the lock and what is being built, so that data/prepared/<corpus> does not
    fetch = f"run `python -m pipeline.fetch {corpus.words()}`"
    card = read_card(source, fetch)
    if card is None:
        raise CorpusError(f"nothing fetched in {source}: {fetch}")
    if card["request"] != corpus.request():
        raise CorpusError(f"{source} holds {card['request']}, asked for {corpus.request()}: {fetch}")
    if not corpus.changes and (why := outdated(card, corpus)):
        raise CorpusError(f"{source}: {why}: {fetch}")
    paths = read_texts(source, card["sha256"], fetch)
    before = _stamp(directory)
    with ExitStack() as stack:
        stack.enter_context(lock(directory, root))
        if _stamp(directory) != before:
            done = read_json(directory / "card.json", "prepare again")
            if done["raw"] == card:
                print(f"{corpus.folder}: another process has just prepared it, in {directory}")
                return done
        folder = stack.enter_context(landing(directory, root))
        try:
            prepared = _writer(corpus)(corpus, paths, folder, card)
        except Unreadable as error:
            raise Unreadable(corpus.copied_from(error.file, source / "files"), error.why) from error
        (folder / "card.json").write_text(json.dumps(prepared, indent=2) + "\n")
    print(f"{corpus.folder}: {_described(corpus, prepared)}, in {directory}{oddities(corpus, prepared)}")
    return prepared


def _writer(corpus: Published) -> Callable[[Published, list[Path], Path, dict], dict]:
    if isinstance(corpus, Arrays):
        return write_arrays
    if isinstance(corpus, PictureSet):
        return write_pictures
    return write_words if corpus.symbols == "words" else write_symbols


def _described(corpus: Published, card: dict) -> str:
    if isinstance(corpus, Arrays):
        count = len(card["files"])
        return f"{count} array{'s' * (count != 1)}, {sum(one['bytes'] for one in card['files'].values()):,} bytes"
    if isinstance(corpus, PictureSet):
        return described(card)
    total, found = sum(card["counts"].values()), card["vocabulary"]
    different = f"{found:,} of them known" if corpus.symbols == "words" else f"{found} symbols in the training part"
    return f"{total:,} {corpus.symbols}, {different}"


def write_symbols(corpus: Corpus, files: list[Path], folder: Path, raw: dict) -> dict:
    """Writes the vocabulary and the symbols of each part into `folder`; returns the card.

    CorpusError: it is no text (see reading.pieces), has nothing to learn, or is so short that a part is empty, or has a
    part of unknown symbols alone.
    """
    stretches = corpus.stretches([str(path) for path in files])
    first, totals, tally = scan(stretches, corpus)
    borders = corpus.borders(totals)
    ends = {part: (border.start, border.stop) for part, border in borders.items()}
    in_training = sorted(code for code, place in first.items() if place < borders["train"].stop)
    if len(in_training) == 1:
        raise CorpusError(
            f"{corpus.folder} has {borders['train'].stop:,} {corpus.symbols} in the training part, all of them "
            f"{chr(in_training[0])!r}: there is nothing to learn: take another text"
        )
    vocabulary = Vocabulary(corpus.symbols, in_training)
    table = vocabulary.table(max(first) + 1)
    unknown, fingerprint, sums = write(stretches, corpus, vocabulary, table, ends, folder, tally["bytes"])
    counts = {part: end - start for part, (start, end) in ends.items()}
    refuse_unknown(corpus, counts, unknown)
    return make_card(
        corpus.folder,
        corpus.split,
        counts,
        fingerprint,
        symbols=corpus.symbols,
        encoding=corpus.encoding,
        tokens=corpus.cut_by,
        vocabulary=len(vocabulary),
        unknown=unknown,
        crlf=tally["crlf"],
        not_utf8=tally["not_utf8"],
        files=sums,
        raw=raw,
    )


def oddities(corpus: Published, card: dict) -> str:
    """What is odd about what was prepared, to go on a line with."""
    if isinstance(corpus, PictureSet):
        return odd_pictures(card)
    if not isinstance(corpus, Corpus):
        return ""
    foreign = f"; {card['not_utf8']:,} bytes that are not UTF-8, read as Latin-1" if card["not_utf8"] else ""
    shares = {part: card["unknown"][part] / count for part, count in card["counts"].items()}
    if "outside" in card:
        called = {part: "training" if part == "train" else part for part in card["counts"]}
        outside = (
            f"{card['outside'][part] / count:.1%} of the {called[part]} part" for part, count in card["counts"].items()
        )
        return f"{foreign}; outside the vocabulary {', '.join(outside)}"
    many = ", ".join(f"{share:.0%} of the {part} part" for part, share in shares.items() if share >= MANY)
    return foreign + (f"; {many} unknown: symbols that the training part lacks, which are not asked" if many else "")


def refuse_unknown(corpus: Corpus, counts: dict[str, int], unknown: dict[str, int]) -> None:
    """Raises CorpusError for a part in which no symbol but perhaps its first, which is not asked, is known."""
    for part, count in counts.items():
        if count - unknown[part] < 2:
            raise CorpusError(
                f"{corpus.folder} has {unknown[part]:,} of {count:,} {corpus.symbols} in the {part} part that the "
                f"training part lacks, so that no model can be judged on it: take another data.split than "
                f"{corpus.split}, or a text that ends as it begins"
            )


def _stamp(directory: Path) -> int | None:
    card = directory / "card.json"
    return card.stat().st_mtime_ns if card.exists() else None


def scan(stretches: list[list[str]], corpus: Corpus) -> tuple[dict[int, int], list[int], Counter]:
    """Position of the first occurrence of each code, number of symbols of each stretch, and the tally of
    `reading.pieces`."""
    first, total, totals, tally = {}, 0, [], Counter()
    with progress("counting symbols", sum(map(os.path.getsize, sum(stretches, [])))) as bar:
        for paths in stretches:
            before = total
            for block in symbols_of(paths, corpus, tally):
                for code in np.flatnonzero(np.bincount(code_points(block))).tolist():
                    if code not in first:
                        first[code] = total + block.index(chr(code))
                total += len(block)
                bar.update(tally["bytes"] - bar.n)
            totals.append(total - before)
    return first, totals, tally


def write(
    stretches: list[list[str]],
    corpus: Corpus,
    vocabulary: Vocabulary,
    table: np.ndarray,
    ends: dict[str, tuple[int, int]],
    folder: Path,
    size: int,
) -> tuple[dict[str, int], str, dict[str, Sum]]:
    """Writes vocabulary.json and <part>.npy for each part; returns the number of unknown symbols of each part, the
    fingerprint, and size and sha256 of each file.

    The fingerprint is the sha256 of the vocabulary, the arrays' type and borders, and their values in order.
    """
    checksum = hashlib.sha256((vocabulary.to_json() + json.dumps([vocabulary.dtype.str, ends])).encode())
    unknown, position, tally = dict.fromkeys(ends, 0), 0, Counter()
    written = {"vocabulary.json": vocabulary.to_json().encode()}
    (folder / "vocabulary.json").write_bytes(written["vocabulary.json"])
    for part, (start, end) in ends.items():
        header = io.BytesIO()
        shape = {"descr": vocabulary.dtype.str, "fortran_order": False, "shape": (end - start,)}
        np.lib.format.write_array_header_1_0(header, shape)
        written[f"{part}.npy"] = header.getvalue()
    sums = {name: hashlib.sha256(content) for name, content in written.items()}
    with ExitStack() as stack:
        files = {part: stack.enter_context((folder / f"{part}.npy").open("wb")) for part in ends}
        for part, file in files.items():
            file.write(written[f"{part}.npy"])

        def store(codes: np.ndarray, position: int) -> None:
            indices = table.take(codes)
            checksum.update(indices)
            for part, (start, end) in ends.items():
                inside = indices[max(start - position, 0) : max(end - position, 0)]
                files[part].write(inside)
                sums[f"{part}.npy"].update(inside)
                if part != "train":
                    unknown[part] += int(np.count_nonzero(inside == len(vocabulary)))

        # All that `store` does lets go of the interpreter lock, so that it runs beside the reading, one block behind.
        storing = stack.enter_context(ThreadPoolExecutor(1))
        stored = None
        bar = stack.enter_context(progress("writing arrays", size))
        for paths in stretches:
            for block in symbols_of(paths, corpus, tally):
                codes = code_points(block)
                if stored:
                    stored.result()
                stored = storing.submit(store, codes, position)
                position += len(codes)
                bar.update(tally["bytes"] - bar.n)
        stored.result()
    if position != end:
        raise CorpusError("the fetched files changed while they were read: prepare again")
    found = {name: Sum(bytes=(folder / name).stat().st_size, sha256=one.hexdigest()) for name, one in sums.items()}
    return unknown, checksum.hexdigest(), found
