"""The head of a TIFF: its pages, what they hold, and whether what it says fits together."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from operator import add
from pathlib import Path

from tifffile import PHOTOMETRIC, TiffFile, TiffPage

from segtrain.decode.headers import Size, naming
from segtrain.errors import UserError

NEEDED = {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339}  # tags
TILES = {322, 323, 324, 325}  # tags of files in tiles
OFFSETS = {3, 4, 13, 16, 18}  # types of tags that hold a place in the file
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said once, by us


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
        numbers = list(real_pages(tif))
        if not numbers:
            raise ValueError("it has no pages")
        return numbers


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


def _page(tif: TiffFile, index: int) -> TiffPage:
    page = tif.pages[index]
    if not isinstance(page, TiffPage):
        raise TypeError(f"page {index} is only part of one")
    return page


def page_size(path: Path, page: TiffPage) -> Size:
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
    if page.tags.valueof(278, 1) == 0:
        raise ValueError("strips of no rows")
    if page.tags.valueof(284, 1) not in (1, 2) or (page.bitspersample == 1 and page.samplesperpixel > 1):
        raise ValueError("planes or bits of an impossible number")
    if page.bitspersample == 1 and page.predictor != 1:  # the number of bits is lost: 1 is what none means
        raise ValueError("differences of single bits")
    strange = page.photometric in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE) and page.samplesperpixel > 1
    if strange or page.samplesperpixel < color_channels(page) or not set(page.extrasamples) <= {0, 1, 2}:
        raise ValueError(f"{page.samplesperpixel} channels of {page.photometric!r}")
    if unread := NEEDED & _codes(page) - {tag.code for tag in page.tags}:
        raise ValueError(f"its tags {sorted(unread)} cannot be read")
    if TILES & _codes(page) and not page.is_tiled:
        raise ValueError("tiles of no size")
    planes, down, across = grid(page)
    if not planes * down * across == len(page.dataoffsets) == len(page.databytecounts):
        raise ValueError(f"places of {len(page.dataoffsets)} parts, where {planes * down * across} are needed")
    places = next((page.tags[code] for code in (273, 324) if code in page.tags), None)
    if places is None or places.dtype not in OFFSETS:
        raise ValueError("the places of its parts are no numbers")
    if max(map(add, page.dataoffsets, page.databytecounts)) > page.parent.filehandle.size:
        raise ValueError("it ends too early")
    if page.compression == 1 and page.bitspersample % 8 == 0 and sum(page.databytecounts) < page.nbytes:
        raise ValueError("its parts hold fewer bytes than its pixels need")  # tifffile would read on behind them
    return page.imagelength, page.imagewidth


def _codes(page: TiffPage) -> set[int]:
    """The tags that stand in the file, those included that tifffile passed over since they are damaged."""
    form, file = page.parent.tiff, page.parent.filehandle
    file.seek(page.offset)
    (number,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    entries = file.read(form.tagsize * number)
    starts = range(0, len(entries) - form.tagsize + 1, form.tagsize)
    return {int(struct.unpack_from(f"{form.byteorder}H", entries, start)[0]) for start in starts}


def grid(page: TiffPage) -> tuple[int, int, int]:
    """Number of planes, and of tiles or strips from top to bottom and from left to right."""
    height, width = block_size(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    return planes, math.ceil(page.imagelength / height), math.ceil(page.imagewidth / width)


def block_size(page: TiffPage) -> Size:
    """(height, width) of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip or page.imagelength, page.imagelength), page.imagewidth


def color_channels(page: TiffPage) -> int:
    """Channels of colour, without those that are something else."""
    by_kind = {PHOTOMETRIC.RGB: 3, PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.SEPARATED: 4}
    return by_kind.get(PHOTOMETRIC(page.photometric), 1)


def has_alpha(page: TiffPage) -> bool:
    """Whether the last channel says how transparent the others are."""
    return (
        page.samplesperpixel == color_channels(page) + 1
        and len(page.extrasamples) == 1
        and page.extrasamples[0] in (1, 2)
    )
