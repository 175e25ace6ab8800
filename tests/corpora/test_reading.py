"""What is no text is refused as characters, and any bytes are taken as bytes."""

import bz2
import gzip
import io
import lzma
import random
import zipfile

import pytest

from pipeline.corpora import reading
from pipeline.corpora.corpus import CorpusError
from pipeline.corpora.preparation import prepare
from pipeline.corpora.prepared import load
from pipeline.corpora.sources import fetch

TEXT = "Der König sprach: «Я здесь, 王よ», und so fort.\r\n" * 40
NOISE = random.Random(0).randbytes(3000)


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", content)
    return file.getvalue()


def text_of(corpus) -> str:
    prepared = load(corpus.directory)
    return "".join(prepared.vocabulary.decode(part) for part in prepared.parts.values())


@pytest.mark.parametrize(
    "what, content",
    [
        ("compressed by gzip", gzip.compress(TEXT.encode())),
        ("compressed by xz", lzma.compress(TEXT.encode())),
        ("compressed by bzip2", bz2.compress(TEXT.encode())),
        ("compressed by zstd", b"\x28\xb5\x2f\xfd" + NOISE),
        ("compressed by lz4", b"\x04\x22\x4d\x18" + NOISE),
        ("a zip archive", zipped(TEXT.encode())),
        ("a 7z archive", b"7z\xbc\xaf\x27\x1c" + NOISE),
        ("a rar archive", b"Rar!\x1a\x07\x01" + NOISE),
    ],
)
@pytest.mark.parametrize("encoding", [None, "latin-1"])
def test_what_is_packed_is_named(fetched, what, content, encoding):
    corpus, raw = fetched(TEXT.encode(), content, encoding=encoding)
    with pytest.raises(CorpusError) as caught:
        prepare(corpus, raw)
    assert str(caught.value) == (
        f"{raw.parent}/texts/001.txt is {what}: unpack it and fetch it again, read its bytes as they are "
        "(data.symbols=bytes), or leave the file out"
    )


@pytest.mark.parametrize(
    "content, reason",
    [
        (NOISE, r"is no text: \d+% of its characters are NULs or other control characters: name its encoding .*"),
        (TEXT.encode() + bytes(100), r"is no text: 5% of its characters are NULs or .*"),
        (TEXT.encode("utf-16-le"), r"is no text: \d+% of its characters .*data\.encoding=utf-16-le.*"),
        (
            "Я здесь и там\n".encode("cp1251") * 9,
            r"is not UTF-8: 71% of its bytes cannot be decoded: name its encoding .*",
        ),
        (bytes(range(128, 256)) * 9, r"is not UTF-8: \d+% of its bytes .*data\.encoding=cp1252.*"),
        (b"\xff\xfe" + "a\n".encode("utf-16-le") * 50 + b"a", r"is not utf-16-le at byte 202: name its encoding .*"),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1 << 18])
def test_what_is_no_text_is_refused_with_its_share(fetched, monkeypatch, content, reason, piece):
    monkeypatch.setattr(reading, "PIECE", piece)
    corpus, raw = fetched(TEXT.encode(), content)
    with pytest.raises(CorpusError, match=rf"^{raw.parent}/texts/001\.txt {reason}$"):
        prepare(corpus, raw)
    prepare(*fetched(TEXT.encode(), content, symbols="bytes"))


@pytest.mark.parametrize(
    "content",
    [
        "Der König sprach zu den Räten\n".encode("latin-1") * 50,  # 7 %
        b"",
        b"\xe9\xe8\xe7\xe6",
        b"\x00\x01\x02" + b"abc",
        b"\x1b[31mred\x1b[0m\tA\x08A\x0c\x0b\r\n" * 50,
        b"BZh9 is how this text begins\n" * 9,
        TEXT.encode() * 9 + bytes(150),
    ],
)
def test_texts_with_a_few_odd_bytes_are_taken(fetched, content):
    prepare(*fetched(TEXT.encode(), content))


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("piece", [1, 3, 1 << 18])
def test_a_byte_order_mark_says_the_encoding(fetched, monkeypatch, encoding, piece):
    monkeypatch.setattr(reading, "PIECE", piece)
    mark = "\ufeff" * encoding.endswith("e")
    corpus, raw = fetched((mark + TEXT).encode(encoding))
    prepare(corpus, raw)
    assert text_of(corpus) == TEXT.replace("\r\n", "\n")


@pytest.mark.parametrize("encoding", ["cp1251", "utf-16-le", "utf-8", "koi8-r", "utf-32-be"])
def test_an_encoding_can_be_named(fetched, encoding):
    text = "Я здесь, и там\r\n" * 40
    corpus, raw = fetched(text.encode(encoding), encoding=encoding)
    assert prepare(corpus, raw)["encoding"] == encoding
    assert text_of(corpus) == text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    "content, encoding, reason",
    [
        (TEXT.encode("latin-1", "ignore"), "utf-8", "is not utf-8 at byte 5"),
        (b"abc\n" * 99 + b"\x81", "cp1252", "is not cp1252 at byte 396"),
        (b"abc\n" * 99 + b"\xe9", "ascii", "is not ascii at byte 396"),
        (b"ab\n" * 99, "utf-16-le", "is not utf-16-le at byte 296"),
        (b"\\ud800 and so on\n" * 9, "unicode_escape", "is not unicode_escape"),
        (bytes(500) + TEXT.encode(), "latin-1", r"is no text: \d+% of its characters .*"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1 << 18])
def test_what_is_not_in_the_encoding_that_is_named_is_refused(fetched, monkeypatch, content, encoding, reason, piece):
    monkeypatch.setattr(reading, "PIECE", piece)
    corpus, raw = fetched(content, encoding=encoding)
    with pytest.raises(
        CorpusError, match=rf"^{raw.parent}/texts/000\.txt {reason}: name its encoding \(data\.encoding"
    ):
        prepare(corpus, raw)


def test_each_encoding_has_a_folder_of_its_own(fetched, tmp_path):
    content = "Große Worte von alters her\n".encode("latin-1") * 99
    folders, fingerprints = set(), set()
    for encoding in (None, "latin-1", "iso-8859-1", "cp1251"):
        corpus, raw = fetched(content, encoding=encoding)
        fingerprints.add(prepare(corpus, raw)["fingerprint"])
        folders.add(corpus.directory.name)
    assert folders == {"characters-80-10-10", "characters-80-10-10-iso8859-1", "characters-80-10-10-cp1251"}
    assert len(fingerprints) == 2  # what cannot be decoded is read as Latin-1
    assert {path.name for path in (tmp_path / "prepared/text").iterdir()} == folders


def test_the_users_file_is_named_as_long_as_it_is_there(fetched, text, tmp_path):
    corpus, raw = fetched(TEXT.encode(), NOISE)
    one = text(tmp_path / "texts" / "001.txt")
    fetch(one, raw, None)
    with pytest.raises(CorpusError, match=f"^{tmp_path}/texts/001.txt is no text"):
        prepare(one, raw)
    (tmp_path / "texts" / "001.txt").unlink()
    with pytest.raises(CorpusError, match=f"^{raw}/text/files/001.txt is no text"):
        prepare(one, raw)
