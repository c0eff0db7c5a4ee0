"""TIFF as science writes it: any depth, any number of channels, pages, and parts of files too large to decode.

Plain 8-bit files of one page are left to the readers of all formats (readers.py); this is for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from tifffile import PHOTOMETRIC, TIFF, TiffFile, TiffPage

from segtrain.decode.headers import ORIENTATION, Header, Size, check_pixels, naming
from segtrain.decode.tiffhead import block_size, chosen_pages, color_channels, grid, has_alpha, open_tiff, page_size
from segtrain.errors import UserError
from segtrain.windows import Array, Window

LARGEST_BLOCK = 2**24  # pixels of a tile or strip that is decoded to read a part of it
PLAIN = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
CONVERTED = (PHOTOMETRIC.SEPARATED, PHOTOMETRIC.YCBCR)  # to RGB, by Pillow


class Pixels(NamedTuple):
    """What is stored: [H, W, S] of any type, bool where it is one bit; whether the last channel is transparency."""

    values: Array
    alpha: bool


def tiff_header(path: Path, pages: str | int) -> Header:
    """Size, rotation and blocks of what would be read.

    Raises:
        UserError: damaged, or other pages than wanted.
    """
    with open_tiff(path) as tif:
        page = chosen_pages(path, tif, pages)[0]
        tag = page.tags.valueof(ORIENTATION, 1)
        return Header(page_size(path, page), tag if isinstance(tag, int) and 2 <= tag <= 8 else 1, _block(page))


def is_plain(path: Path, pages: str | int, native: bool) -> bool:
    """Whether a file is one page of 8 bits that all readers understand.

    Raises:
        UserError: damaged, or other pages than wanted.
    """
    with open_tiff(path) as tif:
        (page, *others) = chosen_pages(path, tif, pages)
        named = page.photometric in (*PLAIN, *CONVERTED)
        usual = color_channels(page) + has_alpha(page) == page.samplesperpixel and not (native and has_alpha(page))
        # some uncompressed tiles OpenCV cannot read
        whole = not page.is_tiled and page.planarconfig == 1 and page.index == 0 and page.imagedepth == 1
        return (
            not others and page.bitspersample in (1, 8) and page.dtype in (bool, "uint8") and named and usual and whole
        )


def read_tiff(path: Path, pages: str | int, max_pixels: int, window: Window | None = None, ids: bool = False) -> Pixels:
    """Decode pages, or no more than a window of them where that can be done.

    Args:
        path: the file.
        pages: "error", "channels" or the number of the page.
        max_pixels: most that is decoded at once.
        window: the part that is wanted; None: all of it.
        ids: palette files give ids, not colours.

    Raises:
        UserError: damaged, too large, of a compression that is not known, or other pages than wanted.
    """
    with open_tiff(path) as tif:
        chosen = chosen_pages(path, tif, pages)
        for page in chosen:
            page_size(path, page)
        parts = [_decoded(path, tif, page, max_pixels, window, ids) for page in chosen]
        if len(parts) == 1:
            return Pixels(parts[0], has_alpha(chosen[0]))
        return Pixels(np.concatenate(parts, axis=2), alpha=False)


def _decoded(path: Path, tif: TiffFile, page: TiffPage, max_pixels: int, window: Window | None, ids: bool) -> Array:
    size = page_size(path, page)
    if window is not None and _block(page) is not None:
        check_pixels(path, window[2:], max_pixels)
        return _as_seen(page, _region(path, tif, page, window), ids)
    check_pixels(path, size, max_pixels)
    values = _as_seen(page, _whole(page), ids) if _known(page) else _by_others(path, page)
    if window is None:
        return values
    return values[window.top : window.top + window.height, window.left : window.left + window.width]


def _known(page: TiffPage) -> bool:
    """Whether its values can be decoded here and are what they look like."""
    try:
        codecs = TIFF.DECOMPRESSORS[page.compression], TIFF.UNPREDICTORS[page.predictor]
        return all(codecs) and page.photometric in PLAIN
    except (KeyError, ValueError):
        return False


def _block(page: TiffPage) -> Size | None:
    """(height, width) of what can be decoded alone; None where the whole must be."""
    if not _known(page):
        return None
    if page.is_contiguous and page.dtype != bool:
        return 1, page.imagewidth
    block = block_size(page)
    return block if 0 < block[0] * block[1] <= LARGEST_BLOCK else None


def _whole(page: TiffPage) -> Array:
    values: Array = page.asarray()
    return _channels_last(page, values)


def _channels_last(page: TiffPage, values: Array) -> Array:
    if values.ndim == 2:
        return values[..., None]
    return np.moveaxis(values, 0, 2) if page.axes == "SYX" else values


def _region(path: Path, tif: TiffFile, page: TiffPage, window: Window) -> Array:
    """The stored values of a part, decoding no more tiles or strips than it touches."""
    if page.is_contiguous and page.dtype != bool:
        kind = np.dtype(page.dtype).newbyteorder(tif.byteorder)
        mapped = _channels_last(page, np.memmap(path, kind, "r", page.dataoffsets[0], page.shape))
        part = mapped[window.top : window.top + window.height, window.left : window.left + window.width]
        return np.array(part, dtype=page.dtype)
    separate = page.planarconfig == 2
    result = np.full((window.height, window.width, page.samplesperpixel), page.nodata, page.dtype)
    for plane in range(page.samplesperpixel if separate else 1):
        target = result[..., plane : plane + 1] if separate else result
        for index, top, left in _touched(page, window, plane):
            segment = _segment(tif, page, index)
            if segment is not None:  # else a hole, which holds no data
                _paste(target, segment, top - window.top, left - window.left)
    return result


def _touched(page: TiffPage, window: Window, plane: int) -> Iterator[tuple[int, int, int]]:
    """(number, top, left) of the tiles or strips that a window touches."""
    (height, width), (_, down, across) = block_size(page), grid(page)
    for row in range(window.top // height, (window.top + window.height - 1) // height + 1):
        for column in range(window.left // width, (window.left + window.width - 1) // width + 1):
            yield (plane * down + row) * across + column, row * height, column * width


def _segment(tif: TiffFile, page: TiffPage, index: int) -> Array | None:
    """One tile or strip, [h, w, samples]."""
    count = page.databytecounts[index]
    if count == 0:
        return None
    tif.filehandle.seek(page.dataoffsets[index])
    encoded = tif.filehandle.read(count)
    if len(encoded) < count:
        raise ValueError(f"the file ends within tile or strip {index}")
    decoded: Any = page.decode(encoded, index, jpegtables=page.jpegtables)
    values, shape = decoded[0], decoded[2]
    return None if values is None else values[0, : shape[1], : shape[2]]


def _paste(target: Array, part: Array, top: int, left: int) -> None:
    """Copy what of a part lies inside of the target; (top, left) is the part's place there, possibly negative."""
    rows = slice(max(top, 0), min(top + part.shape[0], target.shape[0]))
    columns = slice(max(left, 0), min(left + part.shape[1], target.shape[1]))
    target[rows, columns] = part[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _as_seen(page: TiffPage, values: npt.NDArray[Any], ids: bool) -> Array:
    """Colours of a palette (unless its numbers are ids), and white as the largest value."""
    if page.photometric == PHOTOMETRIC.PALETTE and not ids and page.colormap is not None:
        return np.moveaxis(page.colormap[:, values[..., 0]] >> 8, 0, -1).astype(np.uint8)
    if page.photometric == PHOTOMETRIC.MINISWHITE and values.dtype.kind in "bu":
        return np.asarray(np.invert(values))
    return values


def _by_others(path: Path, page: TiffPage) -> Array:
    """Compressions and colour spaces that tifffile lacks: 8 bits by Pillow, more by OpenCV.

    Raises:
        UserError: both lack them too.
    """
    codec = f"compression {page.compression}, colours {page.photometric}, {page.dtype}"
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    with naming(path, f"cannot be decoded ({codec})"):
        if page.dtype in (bool, "uint8") and page.photometric in (*PLAIN, *CONVERTED):
            return _by_pillow(path, page)
        if page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB) and page.index == 0:
            decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            values = None if decoded is None else decoded.reshape(*decoded.shape[:2], -1)
            if values is not None and (values.dtype, values.shape) == (page.dtype, shape):
                return values[..., [2, 1, 0, 3][: shape[2]]] if shape[2] > 1 else values
    raise UserError(f"{path}: {codec} needs a further package: pip install 'segtrain[readers]'; or save it without")


def _by_pillow(path: Path, page: TiffPage) -> Array:
    with Image.open(path, formats=["TIFF"]) as image:
        image.seek(page.index)
        shown = image if image.mode in ("1", "L", "P", "RGB", "RGBA", "LA") else image.convert("RGB")
        values: Array = np.asarray(shown)
        return values[..., None] if values.ndim == 2 else values
