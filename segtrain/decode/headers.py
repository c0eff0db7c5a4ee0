"""What the head of an image file says, before anything is decoded: format, size, depth, pages, rotation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from segtrain.errors import UserError

PNG_START = b"\x89PNG\r\n\x1a\n"
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # whatever the file is called: Pillow would start Ghostscript for EPS
MASK_FORMATS = (*FORMATS, "GIF")
MAX_PIXELS = 100_000_000  # a 17 KB file can hold 12,000 x 12,000 pixels; refuse before decoding
DEEP = re.compile(";16[BLN]")  # Pillow's name of 16-bit data that it would cut to 8 bits: "RGB;16B"
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
ORIENTATIONS = ("auto", "apply", "ignore")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF's
HEAD = 64  # bytes of a file that is none, to tell what it is
GIT_LFS, HTML = b"version https://git-lfs", (b"<!doctype", b"<html")
REPLACE = "replace or remove it"
Image.MAX_IMAGE_PIXELS = None  # our own check, with its own message, stands in `check_pixels`
Size = tuple[int, int]


@dataclass(frozen=True)
class Header:
    """The head of an image file.

    Args:
        size: (height, width) as stored.
        tag: EXIF orientation, 1 where there is none.
        block: (height, width) of the tiles or strips that can be decoded alone; None: only the whole can.
    """

    size: Size
    tag: int = 1
    block: Size | None = None


def open_image(
    path: Path, max_pixels: int = MAX_PIXELS, file: IO[bytes] | None = None, formats: tuple[str, ...] = FORMATS
) -> Image.Image:
    """Open a file by Pillow and read its header alone.

    Args:
        path: the file.
        max_pixels: most that it may hold.
        file: the same, where it is open already.
        formats: that are read.

    Raises:
        UserError: missing, empty, no image, or more pixels than that.
    """
    if file is not None:
        with naming(path):
            check_chunks(file)
    try:
        image = Image.open(path if file is None else file, formats=formats)
    except FileNotFoundError as error:
        raise UserError(absent(path)) from error
    except Exception as error:  # a damaged header makes Pillow raise anything, TypeError included
        raise UserError(f"{path}: not a readable image {contents(path)}") from error
    try:
        check_pixels(path, (image.height, image.width), max_pixels)
    except UserError:
        image.close()
        raise
    return image


def check_chunks(file: IO[bytes]) -> None:
    """Refuse a PNG that promises more than it has: decoders first make room for it, seconds and gigabytes.

    Raises:
        ValueError: it does.
    """
    file.seek(0)
    if file.read(len(PNG_START)) == PNG_START:
        place, end = len(PNG_START), file.seek(0, 2)
        while place + 8 <= end:
            file.seek(place)
            place += int.from_bytes(file.read(4), "big") + 12
        if place > end + 4:  # a missing last checksum does no harm
            raise ValueError("it ends too early")
    file.seek(0)


@contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to read an image from.

    Raises:
        UserError: there is none.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise UserError(absent(path)) from error
    except OSError as error:
        raise UserError(f"{path}: not a readable image {contents(path)}") from error
    with file:
        yield file


def is_tiff(file: IO[bytes]) -> bool:
    """Whether a TIFF begins at the start of the file; the position is left there."""
    start = file.read(4)
    file.seek(0)
    return start in TIFF_STARTS


def check_pixels(path: Path, size: Size, max_pixels: int) -> None:
    """Refuse an image that would fill the memory.

    Raises:
        UserError: naming the file, its size and the limit.
    """
    if size[0] * size[1] > max_pixels:
        raise UserError(
            f"{path}: {size[1]} x {size[0]} pixels, more than {max_pixels:,}; save it as a TIFF in tiles, which "
            "is read in parts, or raise data.max_pixels"
        )


def is_deep(image: Image.Image) -> bool:
    """Whether an opened image has more than 8 bits per channel."""
    return image.mode not in EIGHT_BIT or any(DEEP.search(str(tile.args)) for tile in getattr(image, "tile", ()))


def check_frames(path: Path, image: Image.Image) -> None:
    """Refuse animations and the several pictures of an MPO.

    Raises:
        UserError: naming the file and the remedy.
    """
    with naming(path):
        frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UserError(f"{path}: holds {frames} pages, an image must have one; split it")


def tag_of(path: Path, image: Image.Image) -> int:
    """EXIF orientation of an opened image, 1 where there is none or an impossible one."""
    with naming(path):
        tag = Image.Image.getexif(image).get(ORIENTATION, 1)  # the PNG class's own would decode the whole file
    return tag if isinstance(tag, int) and 2 <= tag <= 8 else 1


@contextmanager
def naming(path: Path, what: str = "damaged", remedy: str = REPLACE) -> Iterator[None]:
    """Decoders raise whatever they like at a damaged file (OSError, SyntaxError, TypeError, cv2.error): say which."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: {what} ({reason}); {remedy}") from error


def contents(path: Path) -> str:
    """What stands in a file instead of what was expected, in brackets, and what to do about it."""
    if path.is_dir():
        return f"(a folder); {REPLACE}"
    try:
        with path.open("rb") as file:
            start = file.read(HEAD)
        size = f"{path.stat().st_size} bytes"
    except OSError as error:
        return f"({error.strerror}); {REPLACE}"
    if start.startswith(GIT_LFS):
        return "(a Git LFS pointer, not the file); run `git lfs pull`"
    if start.startswith(b"GIF8"):
        return "(a GIF, which only a mask may be); save it as PNG"
    if start.lstrip().lower().startswith(HTML):
        return f"(an HTML page of {size}, beginning with {start.lstrip()[:8].decode('ascii')}); {REPLACE}"
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in start[:8])
    return f"({size}, starting with {shown}); {REPLACE}" if start else f"(an empty file, {size}); {REPLACE}"


def absent(path: Path) -> str:
    """A sentence on a file that is not there."""
    if path.is_symlink():
        return f"{path}: no such file, but a link that leads nowhere (to {path.readlink()}); mend it or remove it"
    return f"{path}: no such file"
