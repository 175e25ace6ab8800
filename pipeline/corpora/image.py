"""One picture of a file as 8-bit RGB, whatever it was kept as."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

EXIF_ORIENTATION = 0x0112
TURNS = {  # its values -> what brings the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises for files that are damaged, by format; an UnidentifiedImageError is an OSError.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
DAMAGED += (AttributeError, RuntimeError, AssertionError)
WHITE = (255, 255, 255)
CMYK, GREY, DEEP, PALETTE, ALPHA, TURNED, ANIMATED = CONVERSIONS = (
    "CMYK",
    "greyscale",
    "16 bits a channel",
    "palette",
    "transparent, laid on white",
    "turned as its EXIF says",
    "animated, its first frame",
)


class BadPicture(Exception):
    """A file is no picture that can be shown; the message is the reason under which it is counted."""


MISSING, EMPTY, CORRUPT, LARGE = "missing", "empty file", "corrupt, cut or no picture", "too large to be decoded"


def decode(path: Path) -> tuple[Image.Image, list[str]]:
    """The picture as RGB of 8 bits, and which of CONVERSIONS that took.

    CMYK, grey values and palettes become colours, of 16 bits a channel the upper 8 are kept, what is transparent lies
    on white, the rotation that EXIF asks for is applied, of an animation the first frame is taken. BadPicture: it is
    missing, empty, cut, damaged or no picture, or so large that Pillow takes it for an attack.
    """
    try:
        if not os.stat(path).st_size:
            raise BadPicture(EMPTY)
        with Image.open(path) as image:
            return _as_rgb(image)
    except FileNotFoundError:
        raise BadPicture(MISSING) from None
    except Image.DecompressionBombError:
        raise BadPicture(LARGE) from None
    except DAMAGED as error:
        raise BadPicture(CORRUPT) from error


def _orientation(image: Image.Image) -> int | None:
    """What EXIF says of how the picture is turned; None where it says nothing that can be read."""
    try:
        return image.getexif().get(EXIF_ORIENTATION)
    except DAMAGED:
        return None


def _as_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    done = [ANIMATED] * (getattr(image, "n_frames", 1) > 1)
    image.seek(0)
    deep = any("16" in str(tile[3]) for tile in image.tile) or image.mode.startswith("I")
    image.load()
    turning = TURNS.get(_orientation(image))
    if turning is not None:
        image = image.transpose(turning)
    done += [CMYK] * (image.mode == "CMYK") + [GREY] * (image.mode in ("1", "L", "LA", "F") or image.mode[0] == "I")
    done += [DEEP] * deep + [PALETTE] * (image.mode in ("P", "PA")) + [TURNED] * (turning is not None)
    if image.mode == "F" or image.mode[0] == "I":
        values = np.asarray(image, np.float64)
        if image.mode == "F" and 0 <= values.min() and values.max() <= 1:
            values = values * 65535
        image = Image.fromarray(np.clip(values / 256, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getextrema()[3][0] < 255:
            done.append(ALPHA)
        ground = Image.new("RGBA", image.size, (*WHITE, 255))
        ground.alpha_composite(image)
        image = ground
    return image.convert("RGB"), done
