"""The PNGs that most data sets consist of, recognized by their bytes: then OpenCV alone decodes them.

Opening a file by Pillow, to learn what it is, costs as much as decoding a small mask. OpenCV gives the same pixels of
these, and notices the same damage (`scripts/fuzz_inputs.py` compares them); of all others Pillow has to tell what
they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from segtrain.decode.headers import PNG_START, Size, check_pixels, naming
from segtrain.errors import UserError

HEAD = 33  # bytes before the second chunk
CHANNELS = {0: 1, 2: 3}  # of the colour types grey and RGB; the others are palettes and those with transparency
SPECIAL = {b"eXIf", b"acTL", b"tRNS"}  # rotation, animation, a colour that is transparent
TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
ROTATING = {b"Raw ", b"XML:"}  # texts that may hold EXIF begin so: "Raw profile type exif", "XML:com.adobe.xmp"


class PlainPng(NamedTuple):
    """A whole PNG of 8 bits, grey or RGB, upright and opaque.

    Args:
        size: (height, width).
        channels: 1 or 3.
    """

    size: Size
    channels: int


def png_content(file: IO[bytes]) -> bytes:
    """All bytes of a file where a PNG begins, else none; the position is its start again."""
    start = file.read(len(PNG_START))
    content = start + file.read() if start == PNG_START else b""
    file.seek(0)
    return content


def plain_png(content: bytes) -> PlainPng | None:
    """What the content of a PNG is, if it is a plain one; nothing is decoded."""
    if len(content) < HEAD or content[12:16] != b"IHDR":
        return None
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    depth, color = content[24], content[25]
    plain = depth == 8 and color in CHANNELS and _has_usual_chunks(content)
    return PlainPng((height, width), CHANNELS[color]) if plain else None


def _has_usual_chunks(content: bytes) -> bool:
    """Whether all chunks are there, to the last, and none of them changes what the pixels mean."""
    place, kind = HEAD, b""
    while place + 12 <= len(content) and kind != b"IEND":
        kind = content[place + 4 : place + 8]
        if kind in SPECIAL or (kind in TEXTS and content[place + 8 : place + 12] in ROTATING):
            return False
        place += int.from_bytes(content[place : place + 4], "big") + 12
    return kind == b"IEND" and place <= len(content)


def decode_png(
    path: Path, content: bytes, plain: PlainPng, max_pixels: int, rgb: bool = False
) -> npt.NDArray[np.uint8]:
    """Decode a plain PNG, [H, W, 1 or 3].

    Args:
        path: of the file, for messages.
        content: of the file.
        plain: what it is.
        max_pixels: most that it may hold.
        rgb: repeat grey to three channels.

    Raises:
        UserError: damaged, or more pixels than that.
    """
    check_pixels(path, plain.size, max_pixels)
    colored = rgb or plain.channels == 3
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if colored else cv2.IMREAD_GRAYSCALE
    with naming(path):
        values = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if values is None or values.shape[:2] != plain.size:
        raise UserError(f"{path}: damaged, opencv cannot decode it; replace or remove it")
    array = cv2.cvtColor(values, cv2.COLOR_BGR2RGB) if colored else values[..., None]
    return np.asarray(array, dtype=np.uint8)
