"""Image files to arrays: uint8 as stored or float32 in [0, 1], with the channels that were asked for.

Masks: masks.py.

All readers give the same array for the same 8-bit file (a test proves it).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from segtrain.decode.headers import (
    Header,
    Size,
    check_frames,
    check_pixels,
    is_deep,
    is_tiff,
    naming,
    open_file,
    open_image,
    tag_of,
)
from segtrain.decode.png import decode_png, plain_png, png_content
from segtrain.decode.reading import ImageArray, Reading, finished
from segtrain.decode.rotation import applied_tag, turn
from segtrain.decode.tiff import LARGEST_BLOCK, Pixels, is_plain, read_tiff, tiff_header
from segtrain.errors import UserError
from segtrain.windows import Window

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
DEFAULT = Reading()
Bytes = npt.NDArray[np.uint8]


def read_header(path: Path, pages: str | int = "error") -> Header:
    """Size, rotation and blocks of an image file; nothing is decoded, and no size is too large.

    Raises:
        UserError: missing, no image, or with other pages than wanted.
    """
    with open_file(path) as file:
        if is_tiff(file):
            return tiff_header(path, pages)
        with open_image(path, 2**62, file) as image:
            check_frames(path, image)
            return Header((image.height, image.width), tag_of(path, image))


def read_image(
    path: Path, reading: Reading = DEFAULT, size: Size | None = None, page: int | None = None, verify: bool = False
) -> ImageArray:
    """Decode an image file.

    Args:
        path: PNG, JPEG, BMP, TIFF or WebP.
        reading: what to make of it.
        size: (height, width) that it must have; tells whether an EXIF orientation is applied.
        page: of a TIFF, instead of what `reading` says.
        verify: use a decoder that notices truncated files, whatever `reading` says.

    Returns:
        [H, W, C], uint8 for 8-bit files, else float32 in [0, 1].

    Raises:
        UserError: missing, damaged, too large, or nothing that `reading` can be done with; it names the file.
    """
    with open_file(path) as file:
        content = png_content(file) if verify or reading.reader == "opencv" else b""
        if content and (plain := plain_png(content)):
            values = decode_png(path, content, plain, reading.max_pixels, reading.channels == "rgb")
            return finished(path, values, False, reading)
        if is_tiff(file):
            return _read_tiff(path, file, reading, size, reading.pages if page is None else page, verify)
        with open_image(path, reading.max_pixels, file) as image:
            check_frames(path, image)
            stored = (image.height, image.width)
            tag = applied_tag(path, tag_of(path, image), stored, size, reading.orientation)
            pixels = _deep(path, file, image) if is_deep(image) else _eight_bit(path, file, image, reading, verify)
    return turn(finished(path, pixels.values, pixels.alpha, reading), tag)


def header_of_parts(path: Path, pages: str | int = "error") -> Header | None:
    """The head of a file of which parts can be decoded alone; None where only the whole can.

    Raises:
        UserError: see read_header.
    """
    header = read_header(path, pages) if path.suffix.lower() in (".tif", ".tiff") else None
    return None if header is None or header.block is None or header.tag != 1 else header


def read_window(
    path: Path, window: Window, size: Size, reading: Reading = DEFAULT, page: int | None = None
) -> ImageArray:
    """A part of an image, [h, w, C], as `read_image` would give it.

    Of a TIFF in tiles or strips no more is decoded than the part touches, however large the file is.

    Args:
        path: the file.
        window: the part, inside of the image.
        size: (height, width) of the whole, which the file must have.
        reading: see read_image.
        page: see read_image.

    Raises:
        UserError: see read_image.
    """
    pages = reading.pages if page is None else page
    header = header_of_parts(path, pages)
    if header is None:
        return read_image(path, reading, size, page)[window.slices]
    if header.size != size:
        raise UserError(f"{path}: {header.size[1]} x {header.size[0]} pixels, not {size[1]} x {size[0]}; start again")
    values, alpha = read_tiff(path, pages, reading.max_pixels, window)
    return finished(path, _bytes(values), alpha, reading)


def _read_tiff(
    path: Path, file: IO[bytes], reading: Reading, size: Size | None, pages: str | int, verify: bool
) -> ImageArray:
    header = tiff_header(path, pages)
    tag = applied_tag(path, header.tag, header.size, size, reading.orientation)
    check_pixels(path, header.size, reading.max_pixels)
    if is_plain(path, pages, reading.channels == "native"):
        with open_image(path, reading.max_pixels, file) as image:
            pixels = _eight_bit(path, file, image, reading, verify)
    else:
        pixels = read_tiff(path, pages, reading.max_pixels)
    return turn(finished(path, _bytes(pixels.values), pixels.alpha, reading), tag)


def _bytes(values: ImageArray) -> ImageArray:
    """One-bit pixels as 0 and 255."""
    return values.astype(np.uint8) * np.uint8(255) if values.dtype == bool else values


def _eight_bit(path: Path, file: IO[bytes], image: Image.Image, reading: Reading, verify: bool) -> Pixels:
    """Plain grey and RGB by the reader of choice; the rest by Pillow, since readers disagree on it."""
    if image.mode not in ("L", "RGB") or verify:
        return Pixels(decode(path, image, native=reading.channels == "native"), alpha=False)
    file.seek(0)
    with naming(path, f"{reading.reader} cannot decode it", "replace or remove it, or try another data.reader"):
        array = READERS[reading.reader](path, file)
    if array is None or array.shape[:2] != (image.height, image.width):
        raise UserError(f"{path}: damaged, {reading.reader} cannot decode it; replace or remove it")
    one = image.mode == "L" and reading.channels != "rgb"
    return Pixels(np.ascontiguousarray(array[..., :1]) if one else array, alpha=False)


def decode(path: Path, image: Image.Image, native: bool = False) -> Bytes:
    """Decode an opened 8-bit image by Pillow, which unlike OpenCV notices a truncated JPEG.

    Args:
        path: of the file.
        image: opened.
        native: keep transparency as a channel.

    Returns:
        [H, W, C] with one channel for grey and one-bit images; palettes and CMYK become RGB.

    Raises:
        UserError: the file is damaged.
    """
    modes = {"1": "L", "L": "L", "LA": "LA" if native else "L", "RGBA": "RGBA" if native else "RGB"}
    with naming(path):
        array = np.asarray(image.convert(modes.get(image.mode, "RGB")))
    return array[..., None] if array.ndim == 2 else array


def is_transparent(path: Path, header: Header) -> bool:
    """Whether an image of usual size has pixels that are not opaque, which are read as if they were."""
    if header.block is not None and header.size[0] * header.size[1] > LARGEST_BLOCK:
        return False
    with suppress(UserError), open_file(path) as file, open_image(path, 2**62, file) as image, naming(path):
        if not image.has_transparency_data:
            return False
        return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)
    return False  # of a kind that Pillow cannot read


def _deep(path: Path, file: IO[bytes], image: Image.Image) -> Pixels:
    """16-bit PNG by OpenCV: Pillow cuts colours to 8 bits."""
    with naming(path):
        values = cv2.imdecode(_encoded(file), cv2.IMREAD_UNCHANGED)
    if values is None or values.shape[:2] != (image.height, image.width):
        raise UserError(f"{path}: damaged, or pixels of a kind that is not known; replace or remove it")
    if values.ndim == 2:
        return Pixels(values[..., None], alpha=False)
    alpha = values.shape[2] == 4
    colors = values[..., 2::-1]
    if any("LA;" in str(tile.args) for tile in getattr(image, "tile", ())):  # which OpenCV blows up to BGRA
        colors = colors[..., :1]
    return Pixels(np.dstack([colors, values[..., 3:]]) if alpha else colors, alpha)


def _encoded(file: IO[bytes]) -> Bytes:
    file.seek(0)
    return np.frombuffer(file.read(), dtype=np.uint8)


def _opencv(path: Path, file: IO[bytes]) -> Bytes | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(_encoded(file), flags)  # cv2.imread fails on some non-ASCII paths
    return None if decoded is None else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _pillow(path: Path, file: IO[bytes]) -> Bytes:
    with open_image(path, file=file, max_pixels=2**62) as image:  # checked before
        return _rgb(decode(path, image))


def _skimage(path: Path, file: IO[bytes]) -> Bytes:
    try:
        from skimage.io import imread
    except ImportError as error:
        raise UserError("data.reader=skimage needs scikit-image: pip install 'segtrain[readers]'") from error
    return _rgb(np.asarray(imread(path)))


def _matplotlib(path: Path, file: IO[bytes]) -> Bytes:
    from matplotlib.image import imread

    array = np.asarray(imread(path))
    return _rgb(array if array.dtype == np.uint8 else np.round(array * 255).astype(np.uint8))  # PNG comes as [0, 1]


def _rgb(array: Bytes) -> Bytes:
    array = array[..., None] if array.ndim == 2 else array
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


READERS: dict[str, Callable[[Path, IO[bytes]], Bytes | None]] = {
    "opencv": _opencv,
    "pillow": _pillow,
    "skimage": _skimage,
    "matplotlib": _matplotlib,
}
