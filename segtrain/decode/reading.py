"""How image files become arrays, the same for all files of a data set: channels, value range, pages, rotation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segtrain import checks
from segtrain.decode.headers import MAX_PIXELS, ORIENTATIONS
from segtrain.errors import UserError

ImageArray = npt.NDArray[np.generic]

DECODERS = ("opencv", "pillow", "skimage", "matplotlib")
CHANNELS = ("rgb", "grey", "native")
FULL_RANGE = {"uint16": 65535.0}  # of depths whose largest value is white
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's and OpenCV's grey


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    Args:
        reader: decoder of plain 8-bit files, a word of DECODERS; the others have one that can.
        channels: "rgb" (grey is repeated), "grey" (colours are weighted), or "native": as many as are stored.
        value_range: the stored value that becomes 1 (then 0 becomes 0), or (low, high); None: 65535 of 16 bits, 1 of
            floats. 8-bit files are kept as they are.
        pages: of a TIFF with several: "error", "channels" (each page is one), or the number of the page to read.
        orientation: of EXIF: "auto" (the mask's size tells), "apply" or "ignore".
        max_pixels: most of an image that is decoded as a whole.

    Raises:
        UserError: a value out of range.
    """

    reader: str = "opencv"
    channels: str = "rgb"
    value_range: float | Sequence[float] | None = None
    pages: str | int = "error"
    orientation: str = "auto"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        checks.choice("data.reader", self.reader, DECODERS)
        checks.choice("data.channels", self.channels, CHANNELS)
        checks.choice("data.orientation", self.orientation, ORIENTATIONS)
        checks.whole("data.max_pixels", self.max_pixels, 1, math.inf)
        if isinstance(self.pages, str):
            checks.choice("data.pages (or the number of a page)", self.pages, ("error", "channels"))
        else:
            checks.whole("data.pages (or error, channels)", self.pages, 0)
        if self.value_range is not None:
            declared_range(self.value_range)

    @property
    def content(self) -> str:
        """All that the arrays depend on, as text."""
        return f"{self.channels}/{self.value_range}/{self.pages}/{self.orientation}"


def reading_of(data: Mapping[str, Any], channels: int) -> Reading:
    """How the images of a data set are read, by its configuration; drawn ones have no files, only channels.

    Args:
        data: plain containers.
        channels: of its images.
    """
    if "reader" not in data:
        return Reading(channels={1: "grey", 3: "rgb"}.get(channels, "native"))
    return Reading(**{field.name: data[field.name] for field in fields(Reading) if field.name in data})


def declared_range(value: Any) -> tuple[float, float]:
    """(value that becomes 0, value that becomes 1) of a range as a user writes it.

    Raises:
        UserError: neither a number > 0 nor [low, high].
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        return 0.0, checks.number("data.value_range (or [low, high])", value, above=0)
    if len(value) != 2:
        raise UserError(f"data.value_range must be the largest value or [low, high], got {list(value)!r}")
    low = checks.number("data.value_range[0]", value[0])
    return low, checks.number("data.value_range[1]", value[1], above=low)


def finished(path: Path, pixels: ImageArray, alpha: bool, reading: Reading) -> ImageArray:
    """What was asked for, of decoded pixels: their channels, uint8 as it is, all else float32 in [0, 1].

    Args:
        path: for messages.
        pixels: [H, W, S] as stored.
        alpha: whether the last channel is transparency.
        reading: what was asked for.

    Raises:
        UserError: neither grey nor RGB, and those were asked for; see also `scaled`.
    """
    if reading.channels == "native":
        return scaled(path, pixels, reading)
    colors = pixels[..., : pixels.shape[2] - alpha]
    count = colors.shape[2]
    if count not in (1, 3):
        raise UserError(f"{path}: holds {count} channels, neither grey nor RGB; read all with data.channels=native")
    colors = scaled(path, colors, reading)
    if reading.channels == "rgb":
        return np.repeat(colors, 3, axis=2) if count == 1 else colors
    return colors if count == 1 else greyed(colors)


def greyed(colors: npt.NDArray[Any]) -> ImageArray:
    """RGB [H, W, 3], uint8 or float32, as grey [H, W, 1] of the same depth."""
    if colors.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colors)).convert("L"))[..., None]
    grey = (colors @ np.array(LUMA))[..., None]
    return np.asarray(np.clip(grey, 0, 1), dtype=np.float32)


def scaled(path: Path, pixels: npt.NDArray[Any], reading: Reading) -> ImageArray:
    """8-bit pixels as they are, all others as float32 in [0, 1].

    Raises:
        UserError: NaN or infinite values, values out of the range, or a depth whose range must be declared.
    """
    if pixels.dtype == np.uint8:
        if reading.value_range is not None:
            raise UserError(f"{path}: has 8 bits, which are kept as they are; remove data.value_range, or this file")
        return pixels
    low, high = _range_of(path, pixels, reading)
    bad = pixels.size - int(np.isfinite(pixels).sum()) if pixels.dtype.kind == "f" else 0
    if bad:
        raise UserError(f"{path}: {bad} values are NaN or infinite; replace them, or remove the file")
    least, most = pixels.min().item(), pixels.max().item()
    if least < low or most > high:
        raise UserError(
            f"{path}: values {least:g} .. {most:g}, beyond the range {low:g} .. {high:g}; "
            "declare it with data.value_range='[LOW,HIGH]'"
        )
    exact: npt.NDArray[Any] = pixels.astype(np.float32 if pixels.dtype == np.uint16 else np.float64)
    return np.asarray((exact - low) / (high - low), dtype=np.float32)


def _range_of(path: Path, pixels: ImageArray, reading: Reading) -> tuple[float, float]:
    if pixels.dtype.kind not in "iuf":
        raise UserError(f"{path}: values of type {pixels.dtype}, which are no image; remove it")
    if reading.value_range is not None:
        return declared_range(reading.value_range)
    if pixels.dtype.kind == "f":
        return 0.0, 1.0
    if pixels.dtype.name not in FULL_RANGE:
        raise UserError(
            f"{path}: values of type {pixels.dtype}, {pixels.min()} .. {pixels.max()}; "
            "declare their range with data.value_range='[LOW,HIGH]'"
        )
    return 0.0, FULL_RANGE[pixels.dtype.name]
