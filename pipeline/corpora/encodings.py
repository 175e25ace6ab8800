"""What the first bytes of a file say of it: the encoding of its text, or that it is no text but a packed file."""

import codecs

from pipeline.command.refusal import Refusal

HEAD = 10  # bytes that say it
MARKS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
PACKED = {
    b"\x1f\x8b": "compressed by gzip",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
}


def canonical(encoding: object) -> str:
    """The name under which Python keeps the text encoding that data.encoding names: "iso8859-1" for "latin-1". Raises
    Refusal where there is none by this name."""
    try:
        "a".encode(encoding)  # of an encoding of texts: "hex" is known too, and is none
        codecs.getincrementaldecoder(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError, TypeError):
        raise Refusal(
            f"data.encoding={encoding!r}: there is no such text encoding: take one such as utf-8, latin-1, cp1252 or "
            "utf-16-le, or null (UTF-8, or what a byte order mark says)"
        ) from None


def marked(head: bytes) -> str | None:
    """The encoding that a byte order mark says; None without one, or with that of UTF-8."""
    return next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), None)


def packed(head: bytes) -> str | None:
    """What a file that begins with `head` is, if it must be unpacked to be read."""
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return "compressed by bzip2"
    return next((what for magic, what in PACKED.items() if head.startswith(magic)), None)
