"""TIFF as science writes it: any depth, any number of channels, pages, and parts of files too large to decode.

Plain 8-bit files of one page are left to the readers of all formats (readers.py); this is for the rest.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from tifffile import PHOTOMETRIC, TIFF, TiffFile, TiffPage

from segtrain.data.headers import ORIENTATION, Header, Size, check_pixels, naming
from segtrain.data.source import Array, Window
from segtrain.errors import UserError

LARGEST_BLOCK = 2**24  # pixels of a tile or strip that is decoded to read a part of it
PLAIN = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
NEEDED = {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339}  # tags
OFFSETS = {3, 4, 13, 16, 18}  # types of tags that hold a place in the file
CONVERTED = (PHOTOMETRIC.SEPARATED, PHOTOMETRIC.YCBCR)  # to RGB, by Pillow
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said once, by us


class Pixels(NamedTuple):
    """What is stored: [H, W, S] of any type, bool where it is one bit; whether the last channel is transparency."""

    values: Array
    alpha: bool


@contextmanager
def open_tiff(path: Path) -> Iterator[TiffFile]:
    """An opened TIFF; whatever goes wrong while it is open names the file.

    Raises:
        UserError: damaged.
    """
    with naming(path), TiffFile(path) as tif:
        yield tif


def real_pages(tif: TiffFile) -> Iterator[int]:
    """Numbers of the pages that hold images of their own, not smaller versions of others (overviews) or masks."""
    for index in range(len(tif.pages)):
        if not _page(tif, index).is_reduced and not _page(tif, index).is_mask:
            yield index


def page_numbers(path: Path) -> list[int]:
    """Numbers of all pages of a file that hold images; nothing is decoded.

    Raises:
        UserError: damaged.
    """
    with open_tiff(path) as tif:
        return list(real_pages(tif))


def chosen_pages(path: Path, tif: TiffFile, pages: str | int) -> list[TiffPage]:
    """The pages to read.

    Raises:
        UserError: several where one is wanted, or none of that number.
    """
    if isinstance(pages, int):
        if pages >= len(tif.pages):
            raise UserError(f"{path}: has no page {pages}, only 0 .. {len(tif.pages) - 1}; change data.pages")
        return [_page(tif, pages)]
    numbers = list(real_pages(tif)) if len(tif.pages) > 1 else [0]
    if len(numbers) > 1 and pages == "error":
        raise UserError(
            f"{path}: holds {len(numbers)} pages, an image must have one; read them as channels with "
            "data.pages=channels, one of them with data.pages=NUMBER, each as an image with data=stack, or split it"
        )
    chosen = [_page(tif, number) for number in numbers]
    if len({(page.shape, page.dtype) for page in chosen}) > 1:
        raise UserError(f"{path}: its pages differ in size or depth, so they are no channels; set data.pages=NUMBER")
    return chosen


def tiff_header(path: Path, pages: str | int) -> Header:
    """Size, rotation and blocks of what would be read.

    Raises:
        UserError: damaged, or other pages than wanted.
    """
    with open_tiff(path) as tif:
        page = chosen_pages(path, tif, pages)[0]
        tag = page.tags.valueof(ORIENTATION, 1)
        return Header(_size(path, page), tag if isinstance(tag, int) and 2 <= tag <= 8 else 1, _block(page))


def is_plain(path: Path, pages: str | int, native: bool) -> bool:
    """Whether a file is one page of 8 bits that all readers understand.

    Raises:
        UserError: damaged, or other pages than wanted.
    """
    with open_tiff(path) as tif:
        (page, *others) = chosen_pages(path, tif, pages)
        named = page.photometric in (*PLAIN, *CONVERTED)
        usual = _colors(page) + _alpha(page) == page.samplesperpixel and not (native and _alpha(page))
        whole = page.planarconfig == 1 and page.index == 0 and page.imagedepth == 1
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
            _size(path, page)
        parts = [_decoded(path, tif, page, max_pixels, window, ids) for page in chosen]
        if len(parts) == 1:
            return Pixels(parts[0], _alpha(chosen[0]))
        return Pixels(np.concatenate(parts, axis=2), alpha=False)


def _decoded(path: Path, tif: TiffFile, page: TiffPage, max_pixels: int, window: Window | None, ids: bool) -> Array:
    size = _size(path, page)
    if window is not None and _block(page) is not None:
        check_pixels(path, window[2:], max_pixels)
        return _as_seen(page, _region(path, tif, page, window), ids)
    check_pixels(path, size, max_pixels)
    values = _as_seen(page, _whole(page), ids) if _known(page) else _by_others(path, page)
    if window is None:
        return values
    return values[window.top : window.top + window.height, window.left : window.left + window.width]


def _page(tif: TiffFile, index: int) -> TiffPage:
    page = tif.pages[index]
    if not isinstance(page, TiffPage):
        raise TypeError(f"page {index} is only part of one")
    return page


def _size(path: Path, page: TiffPage) -> Size:
    """(height, width) of a page that is a picture.

    Raises:
        UserError: it is none.
        ValueError: what the head says does not fit together, so that tifffile guessed.
    """
    if page.imagedepth > 1:
        raise UserError(f"{path}: a volume, not a picture; save it as pages")
    numbers = (page.imagelength, page.imagewidth, page.samplesperpixel, page.bitspersample, page.photometric)
    if page.dtype is None or not all(isinstance(number, int) for number in numbers) or min(numbers[:3]) < 1:
        raise ValueError("its head names no pixels")
    strange = page.photometric in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE) and page.samplesperpixel > 1
    if strange or page.samplesperpixel < _colors(page) or not set(page.extrasamples) <= {0, 1, 2}:
        raise ValueError(f"{page.samplesperpixel} channels of {page.photometric!r}")
    if unread := NEEDED & _codes(page) - {tag.code for tag in page.tags}:
        raise ValueError(f"its tags {sorted(unread)} cannot be read")
    planes, down, across = _grid(page)
    if not planes * down * across == len(page.dataoffsets) == len(page.databytecounts):
        raise ValueError(f"places of {len(page.dataoffsets)} parts, where {planes * down * across} are needed")
    places = next((page.tags[code] for code in (273, 324) if code in page.tags), None)
    if places is None or places.dtype not in OFFSETS:
        raise ValueError("the places of its parts are no numbers")
    if max(map(add, page.dataoffsets, page.databytecounts)) > page.parent.filehandle.size:
        raise ValueError("it ends too early")
    return page.imagelength, page.imagewidth


def _codes(page: TiffPage) -> set[int]:
    """The tags that stand in the file, those included that tifffile passed over since they are damaged."""
    form, file = page.parent.tiff, page.parent.filehandle
    file.seek(page.offset)
    (number,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    entries = file.read(form.tagsize * number)
    starts = range(0, len(entries) - form.tagsize + 1, form.tagsize)
    return {int(struct.unpack_from(f"{form.byteorder}H", entries, start)[0]) for start in starts}


def _grid(page: TiffPage) -> tuple[int, int, int]:
    """Number of planes, and of tiles or strips from top to bottom and from left to right."""
    height, width = _block_size(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    return planes, math.ceil(page.imagelength / height), math.ceil(page.imagewidth / width)


def _block_size(page: TiffPage) -> Size:
    """(height, width) of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip or page.imagelength, page.imagelength), page.imagewidth


def _colors(page: TiffPage) -> int:
    """Channels of colour, without those that are something else."""
    by_kind = {PHOTOMETRIC.RGB: 3, PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.SEPARATED: 4}
    return by_kind.get(PHOTOMETRIC(page.photometric), 1)


def _alpha(page: TiffPage) -> bool:
    """Whether the last channel says how transparent the others are."""
    return page.samplesperpixel == _colors(page) + 1 and len(page.extrasamples) == 1 and page.extrasamples[0] in (1, 2)


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
    block = _block_size(page)
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
    (height, width), (_, down, across) = _block_size(page), _grid(page)
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
