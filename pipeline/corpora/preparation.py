"""From the texts of a fetched corpus to arrays of symbol indices, in two passes of bounded memory.

The first pass counts symbols and notes where each first occurs; that gives the parts' borders and the vocabulary of the
training part. The second encodes and writes.
"""

import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.corpora.checksums import LIST, read_list
from pipeline.corpora.corpus import Corpus, CorpusError
from pipeline.corpora.parts import make_card, split_borders
from pipeline.corpora.reading import blocks
from pipeline.corpora.sources import read_card
from pipeline.corpora.vocabulary import Vocabulary, code_points
from pipeline.files.landing import landing, lock


def prepare(corpus: Corpus, raw: Path) -> dict:
    """Makes the directory corpus.prepared from raw/<name>; returns its card.

    CorpusError: nothing or something else was fetched, the corpus is empty, or so short that a part is empty.
    """
    source, directory = corpus.raw(raw), Path(corpus.prepared)
    root = directory.parent.parent  # holds the lock and what is being built, so that data/prepared/<corpus> does not
    card = read_card(source)
    fetch = "run `python -m pipeline.fetch` with the same data=... choices"
    if card is None or not (source / LIST).exists():
        raise CorpusError(f"nothing fetched in {source}: {fetch}")
    if card["request"] != corpus.request():
        raise CorpusError(f"{source} holds {card['request']}, asked for {corpus.request()}: {fetch}")
    if corpus.symbols not in ("characters", "bytes"):
        raise CorpusError(f"data.symbols={corpus.symbols}: choose characters or bytes")
    paths = [f"{source}/files/{name}" for name in read_list(source)]
    before = _stamp(directory)
    with ExitStack() as stack:
        stack.enter_context(lock(directory, root))
        if _stamp(directory) != before:
            done = json.loads((directory / "card.json").read_text())
            if done["raw"] == card:
                print(f"{corpus.folder}: another process has just prepared it, in {directory}")
                return done
        folder = stack.enter_context(landing(directory, root))
        first, total, tally = scan(paths, corpus.symbols)
        if not total:
            raise CorpusError(f"the corpus in {source} is empty")
        borders = split_borders(total, corpus.split, f"{corpus.folder} has {total:,} {corpus.symbols}")
        ends = {part: (border.start, border.stop) for part, border in borders.items()}
        in_training = sorted(code for code, place in first.items() if place < borders["train"].stop)
        vocabulary = Vocabulary(corpus.symbols, in_training)
        (folder / "vocabulary.json").write_text(vocabulary.to_json())
        unknown, fingerprint = write(paths, vocabulary, vocabulary.table(max(first) + 1), ends, folder, tally["bytes"])
        prepared = make_card(
            corpus.folder,
            corpus.split,
            {part: end - start for part, (start, end) in ends.items()},
            fingerprint,
            symbols=corpus.symbols,
            vocabulary=len(vocabulary),
            unknown=unknown,
            crlf=tally["crlf"],
            not_utf8=tally["not_utf8"],
            raw=card,
        )
        (folder / "card.json").write_text(json.dumps(prepared, indent=2) + "\n")
    print(
        f"{corpus.folder}: {total:,} {corpus.symbols}, {len(vocabulary)} symbols in the training part, in {directory}"
    )
    return prepared


def _stamp(directory: Path) -> int | None:
    card = directory / "card.json"
    return card.stat().st_mtime_ns if card.exists() else None


def scan(paths: list[str], symbols: str) -> tuple[dict[int, int], int, Counter]:
    """Position of the first occurrence of each code, number of symbols, and the tally of `reading.pieces`."""
    first, total, tally = {}, 0, Counter()
    size = sum(map(os.path.getsize, paths))
    with progress("counting symbols", size) as bar:
        for block in blocks(paths, symbols, tally):
            for code in np.flatnonzero(np.bincount(code_points(block))).tolist():
                if code not in first:
                    first[code] = total + block.index(chr(code))
            total += len(block)
            bar.update(tally["bytes"] - bar.n)
    return first, total, tally


def write(
    paths: list[str],
    vocabulary: Vocabulary,
    table: np.ndarray,
    ends: dict[str, tuple[int, int]],
    folder: Path,
    size: int,
) -> tuple[dict[str, int], str]:
    """Writes <part>.npy for each part; returns the number of unknown symbols of each part and the fingerprint.

    The fingerprint is the sha256 of the vocabulary, the arrays' type and borders, and their values in order.
    """
    checksum = hashlib.sha256((vocabulary.to_json() + json.dumps([vocabulary.dtype.str, ends])).encode())
    unknown, position, tally = dict.fromkeys(ends, 0), 0, Counter()
    with ExitStack() as stack:
        files = {part: stack.enter_context((folder / f"{part}.npy").open("wb")) for part in ends}
        for part, (start, end) in ends.items():
            header = {"descr": vocabulary.dtype.str, "fortran_order": False, "shape": (end - start,)}
            np.lib.format.write_array_header_1_0(files[part], header)

        def store(codes: np.ndarray, position: int) -> None:
            indices = table.take(codes)
            checksum.update(indices)
            for part, (start, end) in ends.items():
                inside = indices[max(start - position, 0) : max(end - position, 0)]
                files[part].write(inside)
                if part != "train":
                    unknown[part] += int(np.count_nonzero(inside == len(vocabulary)))

        # All that `store` does lets go of the interpreter lock, so that it runs beside the reading, one block behind.
        storing = stack.enter_context(ThreadPoolExecutor(1))
        stored = None
        bar = stack.enter_context(progress("writing arrays", size))
        for block in blocks(paths, vocabulary.symbols, tally):
            codes = code_points(block)
            if stored:
                stored.result()
            stored = storing.submit(store, codes, position)
            position += len(codes)
            bar.update(tally["bytes"] - bar.n)
        stored.result()
    if position != end:
        raise CorpusError("the fetched files changed while they were read: prepare again")
    return unknown, checksum.hexdigest()


def progress(description: str, size: int) -> tqdm:
    return tqdm(desc=description, total=size, unit="B", unit_scale=True, disable=None)
