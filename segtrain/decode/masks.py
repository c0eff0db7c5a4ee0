"""Mask files to ids, by Pillow: OpenCV turns the ids 0, 1, 2 of a palette PNG into grey values 0, 38, 75."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segtrain import checks
from segtrain.decode.headers import (
    MASK_FORMATS,
    MAX_PIXELS,
    ORIENTATIONS,
    check_frames,
    is_deep,
    is_tiff,
    naming,
    open_file,
    open_image,
    tag_of,
)
from segtrain.decode.png import decode_png, plain_png, png_content
from segtrain.decode.rotation import applied_tag, turn
from segtrain.decode.tiff import is_plain, read_tiff, tiff_header
from segtrain.errors import UserError
from segtrain.task import Color
from segtrain.windows import Window

IdArray = npt.NDArray[np.integer]
Values = npt.NDArray[Any]

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
SHOWN = 5  # unknown colours in one message


@dataclass(frozen=True)
class MaskRules:
    """How pixel values of mask files become ids, the same for all files of a data set.

    Args:
        colors: id of each RGB colour, for masks that hold colours; None where they hold ids.
        threshold: values above it are 1, others 0: for JPEG, smoothed masks and probabilities; None: values are ids.
        orientation: of EXIF, as Reading's; "auto" refuses a mask with one.
        max_pixels: most of a mask that is decoded as a whole.

    Raises:
        UserError: a value out of range.
    """

    colors: Mapping[Color, int] | None = None
    threshold: float | None = None
    orientation: str = "auto"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        checks.choice("data.orientation", self.orientation, ORIENTATIONS)
        if self.threshold is not None:
            checks.number("data.mask_threshold", self.threshold)

    @property
    def content(self) -> str:
        """All that the ids depend on, as text."""
        return f"{self.colors}/{self.threshold}/{self.orientation}"


PLAIN = MaskRules()


def read_mask(
    path: Path, rules: MaskRules | None = None, page: int | None = None, window: Window | None = None
) -> IdArray:
    """Decode a mask file to the ids it holds, [H, W].

    Args:
        path: PNG, BMP, TIFF or GIF; with a threshold also JPEG.
        rules: of the data set; None: pixels are ids.
        page: of a TIFF with several.
        window: the part that is wanted; of a TIFF in tiles or strips no more than it touches is decoded.

    Raises:
        UserError: missing, damaged, too large, JPEG (its values are blurred), or with colours that have no id.
    """
    rules = rules or PLAIN
    pages: str | int = "error" if page is None else page
    with open_file(path) as file:
        if (content := png_content(file)) and (plain := plain_png(content)):
            ids = _ids(path, decode_png(path, content, plain, rules.max_pixels), rules)
            return ids if window is None else _cut(ids, window)
        tiff = is_tiff(file)
        if tiff and (window is not None or not is_plain(path, pages, native=False)):
            return _read_tiff(path, pages, rules, window)
        with open_image(path, rules.max_pixels, file, MASK_FORMATS) as image:
            if not tiff:
                check_frames(path, image)
            _check_kind(path, image, rules)
            tag = applied_tag(path, tag_of(path, image), (image.height, image.width), None, rules.orientation)
            with naming(path):
                values = _values(image)
    ids = turn(_ids(path, values, rules), tag)
    return ids if window is None else _cut(ids, window)


def _cut(ids: IdArray, window: Window) -> IdArray:
    return ids[window.top : window.top + window.height, window.left : window.left + window.width]


def _read_tiff(path: Path, pages: str | int, rules: MaskRules, window: Window | None) -> IdArray:
    """Deep or of several pages, or only a part of it."""
    header = tiff_header(path, pages)
    tag = applied_tag(path, header.tag, header.size, None, rules.orientation)
    values, alpha = read_tiff(path, pages, rules.max_pixels, window if tag == 1 else None, ids=True)
    if alpha and values[..., -1].min() == values[..., -1].max():
        values = values[..., :-1]
    ids: IdArray = turn(_ids(path, values, rules), tag)
    return ids if window is None or tag == 1 else _cut(ids, window)


def _check_kind(path: Path, image: Image.Image, rules: MaskRules) -> None:
    if image.format in ("JPEG", "WEBP") and rules.threshold is None:
        raise UserError(
            f"{path}: {image.format} blurs the ids of a mask; export it again as PNG, or, where it has two classes, "
            "set data.mask_threshold=128"
        )
    if image.mode in ("RGB", "RGBA", "LA") and is_deep(image):
        raise UserError(f"{path}: a mask with colours of 16 bits; save single-channel ids")


def _values(image: Image.Image) -> Values:
    """What a mask stores, [H, W, S]: the numbers of palette colours, without a transparency that says nothing.

    Of a GIF the colours: whatever writes one numbers them anew in each file, so that 0 is white where all is white.
    """
    if image.format == "GIF":
        image = image.convert("RGB")
    if image.mode in ("LA", "RGBA", "PA"):
        low, high = image.getchannel("A").getextrema()
        if low == high:
            image = image.getchannel(0) if image.mode == "LA" else image
            image = image.getchannel("P") if image.mode == "PA" else image
            image = image.convert("RGB") if image.mode == "RGBA" else image
    elif image.mode in ("CMYK", "YCbCr"):
        image = image.convert("RGB")
    array: Values = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def _ids(path: Path, values: Values, rules: MaskRules) -> IdArray:
    """Ids [H, W] of stored values [H, W, S]."""
    channels = values.shape[2]
    if channels not in (1, 3):
        raise UserError(
            f"{path}: a mask of {channels} channels (transparency that varies?); which one holds the class ids is not "
            "clear: save it as single-channel ids"
        )
    if channels == 3 and rules.threshold is None:
        return ids_of_colors(path, values, rules.colors)
    plane: Values = values[..., 0] if channels == 1 else values.mean(2)
    if rules.threshold is not None:
        return np.asarray(plane > rules.threshold, dtype=np.uint8)
    if plane.dtype.kind == "f":
        raise UserError(
            f"{path}: a mask of fractions ({plane.min():g} .. {plane.max():g}) holds no class ids; save single-channel "
            "whole numbers, or set data.mask_threshold=0.5 where values above it are the foreground"
        )
    return plane.astype(np.uint8) if plane.dtype == bool else plane


def ids_of_colors(path: Path, values: Values, colors: Mapping[Color, int] | None) -> IdArray:
    """Ids of an RGB mask [H, W, 3], by the colour map; without one, three equal channels are ids themselves.

    Raises:
        UserError: colours that have no id, with their pixel counts.
    """
    if values.dtype != np.uint8:
        raise UserError(f"{path}: a mask with colours of type {values.dtype}; save single-channel ids")
    if colors is None and (values == values[..., :1]).all():
        return np.asarray(values[..., 0])
    packed = values[..., 0].astype(np.uint32) << 16 | values[..., 1].astype(np.uint32) << 8 | values[..., 2]
    found, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    known = {red << 16 | green << 8 | blue: index for (red, green, blue), index in (colors or {}).items()}
    unknown = [(int(n), int(c)) for c, n in zip(found, counts, strict=True) if int(c) not in known]
    if unknown:
        raise UserError(_unknown_colors(path, unknown, colors is not None))
    table = np.array([known[int(color)] for color in found], dtype=np.int32)
    return np.asarray(table[inverse].reshape(packed.shape))


def _unknown_colors(path: Path, unknown: list[tuple[int, int]], mapped: bool) -> str:
    most = sorted(unknown, reverse=True)[:SHOWN]
    shown = ", ".join(f"({c >> 16},{c >> 8 & 255},{c & 255}) in {n} pixels" for n, c in most)
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    if mapped:
        return (
            f"{path}: colours that are none of the classes, or of two: {shown}{more}; add them to classes.txt, "
            "dataset.json, labelmap.txt or data.colors; where the masks are three times the same ids, set "
            "data.colors=ids"
        )
    return (
        f"{path}: a mask of colours, not class ids: {shown}{more}; give the colour of each id in classes.txt or with "
        "data.colors='{ID: [R,G,B]}', or save single-channel ids"
    )


def color_ids(given: object, declared: Mapping[Color, int]) -> Mapping[Color, int] | None:
    """The colour map of a data set.

    Args:
        given: data.colors: None for the declared one, "ids" for none, or a mapping from ids to colours.
        declared: colours of the classes, in classes.txt or dataset.json.

    Raises:
        UserError: no such mapping, or a colour that stands for two ids.
    """
    if given is None:
        return declared or None
    if given == "ids":
        return None
    if not isinstance(given, Mapping):
        raise UserError(f"data.colors must be ids, or map ids to colours, such as '{{1: [255,0,0]}}'; got {given!r}")
    colors: dict[Color, int] = {}
    for key, color in given.items():
        index = checks.whole("data.colors: each id", int(key) if str(key).isdecimal() else key, 0)
        rgb = _color(index, color)
        if colors.setdefault(rgb, index) != index:
            raise UserError(f"data.colors: the colour {rgb} stands for the ids {colors[rgb]} and {index}")
    return colors


def _color(index: int, color: object) -> Color:
    if not isinstance(color, (list, tuple)) or len(color) != 3:
        raise UserError(f"data.colors[{index}] must be [red, green, blue], got {color!r}")
    red, green, blue = (checks.whole(f"data.colors[{index}]", value, 0, 255) for value in color)
    return red, green, blue
